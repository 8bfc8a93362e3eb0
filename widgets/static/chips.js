// Tokens as buttons. Hover or focus shows a token's alternatives; click or Enter pins them and
// Escape unpins them. Otherwise the first marked token's alternatives are shown, or else the
// first token's: that is where the edit shows. Texts are set as text, never as markup.

const MARKS = {
  added: { tag: "ins", sign: "+", word: "added" },
  removed: { tag: "del", sign: "−", word: "removed" },
  same: { tag: "mark", sign: "=", word: "matches" },
};

function made(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

function render({ model, el }) {
  const row = made("div", "ae-chips");
  row.setAttribute("role", "group");
  const list = made("div", "ae-top");
  list.id = `ae-top-${Math.random().toString(36).slice(2)}`;
  list.dataset.testid = "top";
  el.append(row, list);
  let buttons = [];
  // The active chip: under the pointer or with the focus; -1 for none.
  let near = -1;

  const shown = () => (near >= 0 ? near : model.get("pinned"));

  function chip(token, index) {
    const button = made("button", "ae-chip");
    button.type = "button";
    button.dataset.testid = "chip";
    button.dataset.index = index;
    button.style.setProperty("--ae-level", token.level);
    button.setAttribute("aria-controls", list.id);
    button.setAttribute("aria-describedby", list.id);
    const text = made("bdi", "ae-chip-text", token.text);
    button.append(text, " ", made("span", "ae-chip-chance ae-number", token.chance));
    button.addEventListener("click", () => pin(model.get("pinned") === index ? -1 : index));
    button.addEventListener("focus", () => look(index));
    button.addEventListener("blur", () => look(-1));
    // While a list is pinned, the pointer may cross other tokens on its way to the list.
    button.addEventListener("mouseenter", () => model.get("pinned") < 0 && look(index));
    button.addEventListener("mouseleave", () => model.get("pinned") < 0 && look(focused()));
    button.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      event.preventDefault();
      event.stopPropagation();
      near = -1;
      pin(-1);
    });
    const mark = MARKS[token.mark];
    if (!mark) return [button, button];
    button.prepend(made("span", "ae-hidden", `${mark.word} `));
    const around = made(mark.tag, "ae-diff");
    const sign = made("span", "ae-sign", mark.sign);
    sign.setAttribute("aria-hidden", "true");
    around.append(sign, button);
    return [button, around];
  }

  function focused() {
    return buttons.indexOf(el.ownerDocument.activeElement);
  }

  function look(index) {
    near = index;
    drawList();
  }

  function pin(index) {
    model.set("pinned", index);
    model.save_changes();
    drawList();
  }

  function table(token) {
    const all = made("table", "ae-table");
    all.append(made("caption", "", `Alternatives to ${token.text}`));
    const head = made("tr");
    for (const name of ["token", "probability", "rank"]) {
      const cell = made("th", "", name);
      cell.scope = "col";
      head.append(cell);
    }
    const top = made("thead");
    top.append(head);
    const body = made("tbody");
    const said = token.own[2];
    const rows = token.top.some((cells) => cells[2] === said) ? token.top : [...token.top, token.own];
    for (const cells of rows) {
      const line = made("tr");
      if (cells[2] === said) line.className = "ae-said";
      cells.forEach((text, place) => {
        const cell = made("td", place ? "ae-number" : "");
        cell.append(made("bdi", "", text));
        line.append(cell, " ");
      });
      body.append(line);
    }
    all.append(top, body);
    return all;
  }

  function first() {
    return Math.max(0, model.get("chips").findIndex((token) => MARKS[token.mark]));
  }

  function drawList() {
    const at = shown();
    const token = model.get("chips")[at >= 0 ? at : first()];
    buttons.forEach((button, index) => {
      button.setAttribute("aria-expanded", String(index === at));
      button.classList.toggle("ae-pinned", index === model.get("pinned"));
    });
    list.hidden = !buttons.length;
    list.replaceChildren(...(token ? [table(token)] : []));
  }

  function draw() {
    const had = focused();
    row.dataset.side = model.get("side");
    row.setAttribute("aria-label", model.get("label"));
    const pairs = model.get("chips").map(chip);
    buttons = pairs.map(([button]) => button);
    row.replaceChildren(...pairs.map(([, outer]) => outer));
    const note = model.get("note");
    if (note) row.append(made("span", "ae-quiet", note));
    near = -1;
    drawList();
    if (had >= 0) buttons[had]?.focus();
  }

  const redraw = ["chips", "label", "side", "note"];
  for (const name of redraw) model.on(`change:${name}`, draw);
  model.on("change:pinned", drawList);
  draw();
  return () => {
    for (const name of redraw) model.off(`change:${name}`, draw);
    model.off("change:pinned", drawList);
  };
}

export default { render };
