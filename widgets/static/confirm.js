// A confirmation before data is discarded. The focus moves to the safe answer, Escape
// gives that answer, and closing restores the focus. Texts are set as text, never as markup.

function render({ model, el }) {
  const box = document.createElement("div");
  box.className = "ae-confirm ae-warning";
  box.setAttribute("role", "alertdialog");
  box.dataset.testid = "confirm";
  // Keys pressed in here are answers, not JupyterLab's shortcuts.
  box.dataset.lmSuppressShortcuts = "true";
  const words = document.createElement("p");
  const answers = document.createElement("div");
  const yes = button("yes");
  const no = button("no");
  answers.append(yes, no);
  box.append(words, answers);
  el.append(box);
  let before;

  function button(name) {
    const made = document.createElement("button");
    made.type = "button";
    made.className = `jupyter-button widget-button ae-confirm-${name}`;
    made.addEventListener("click", () => give(name));
    return made;
  }

  function give(name) {
    model.set("answer", name);
    model.save_changes();
  }

  function show() {
    box.hidden = !model.get("asking");
    box.setAttribute("aria-label", model.get("text"));
    words.textContent = model.get("text");
    yes.textContent = model.get("yes");
    no.textContent = model.get("no");
  }

  function turned() {
    show();
    if (model.get("asking")) {
      before = document.activeElement;
      no.focus();
    } else if (before?.isConnected) {
      before.focus();
      before = undefined;
    }
  }

  box.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    event.preventDefault();
    event.stopPropagation();
    give("no");
  });
  const watched = ["text", "yes", "no"];
  for (const name of watched) model.on(`change:${name}`, show);
  model.on("change:asking", turned);
  show();
  return () => {
    for (const name of watched) model.off(`change:${name}`, show);
    model.off("change:asking", turned);
  };
}

export default { render };
