// A button that sends a file in pieces, one per message: a server closes the
// connection at a message over its limit. For a file over our own limit, only the size is sent.

const PIECE = 1 << 20;

function render({ model, el }) {
  const button = document.createElement("button");
  button.type = "button";
  button.style.width = "auto";
  const chooser = document.createElement("input");
  chooser.type = "file";
  chooser.hidden = true;
  el.append(button, chooser);

  function show() {
    button.textContent = model.get("label");
    button.title = model.get("help");
    button.disabled = model.get("disabled");
    button.className = `jupyter-widgets jupyter-button widget-button ${model.get("hook")}`;
    chooser.accept = model.get("accept");
  }

  async function take() {
    const file = chooser.files[0];
    if (!file) return;
    const token = `${Date.now()}-${Math.random()}`;
    const told = { kind: "piece", token, name: file.name, size: file.size };
    if (file.size > model.get("limit")) {
      model.send({ ...told, at: 0 });
    } else {
      let at = 0;
      do {
        const piece = await file.slice(at, at + PIECE).arrayBuffer();
        model.send({ ...told, at }, undefined, [piece]);
        at += PIECE;
      } while (at < file.size);
    }
    chooser.value = ""; // lets the user choose the same file again after correcting it
  }

  button.addEventListener("click", () => chooser.click());
  chooser.addEventListener("change", take);
  const watched = ["label", "hook", "accept", "help", "disabled"];
  for (const name of watched) model.on(`change:${name}`, show);
  show();
  return () => {
    for (const name of watched) model.off(`change:${name}`, show);
  };
}

export default { render };
