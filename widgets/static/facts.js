// The rows of the facts table. An input is sent when it loses the focus; rows are redrawn in
// place, so the cursor stays where it is. Texts are set as text or values, never as markup.

const FIELDS = [
  ["subject", "Subject", "subject"],
  ["prompt", "Prompt", "prompt with {}"],
  ["target", "Target", "new target"],
  ["target_true", "True target", "true target"],
  ["group", "Group", "group"],
];
const ACTIONS = [
  ["select", "Select"],
  ["duplicate", "Duplicate"],
  ["delete", "Delete"],
];

function element(tag, name, testid) {
  const made = document.createElement(tag);
  made.className = name;
  if (testid) made.dataset.testid = testid;
  return made;
}

function text(node, content) {
  if (node.textContent !== content) node.textContent = content;
}

function headings() {
  const row = element("div", "ae-fact ae-fact-head");
  row.setAttribute("aria-hidden", "true"); // every input has a name of its own
  row.append(element("span", "ae-fact-number"));
  for (const [field, label] of FIELDS) {
    const cell = element("span", `ae-fact-${field}`);
    cell.textContent = label;
    row.append(cell);
  }
  const status = element("span", "ae-fact-status");
  status.textContent = "Status";
  row.append(status, element("span", "ae-fact-actions"));
  return row;
}

function render({ model, el }) {
  // A custom message is sent at once; a trait change could wait for the reply to the last one.
  const view = Math.random().toString(36).slice(2);
  const parts = new Map();
  let sent = 0;
  let wanted = null;
  let drawing = false;

  const list = element("div", "ae-facts-rows", "facts-table");
  list.setAttribute("role", "group");
  list.setAttribute("aria-label", "Facts");
  const holder = element("div", "ae-facts-editor");
  holder.append(headings(), list);
  el.append(holder);

  function ask(request) {
    sent += 1;
    model.send({ ...request, view, n: sent });
    return sent;
  }

  function input(key, field, hint) {
    const made = element("input", `ae-fact-input ae-fact-${field}`);
    made.type = "text";
    made.dir = "auto";
    made.spellcheck = false;
    made.autocomplete = "off";
    made.placeholder = hint;
    made.addEventListener("change", () => {
      made.pending = ask({ do: "type", key, field, value: made.value });
    });
    made.addEventListener("blur", draw);
    // Rows of a spreadsheet become rows here.
    made.addEventListener("paste", (event) => {
      const pasted = event.clipboardData?.getData("text/plain") ?? "";
      if (!pasted.includes("\t")) return;
      event.preventDefault();
      ask({ do: "paste", text: pasted });
    });
    return made;
  }

  function make(key) {
    const row = element("div", "ae-fact", "fact-row");
    row.setAttribute("role", "group");
    const number = element("span", "ae-fact-number ae-number");
    const inputs = {};
    row.append(number);
    for (const [field, , hint] of FIELDS) {
      inputs[field] = input(key, field, hint);
      row.append(inputs[field]);
    }
    const status = element("span", "ae-fact-status", "fact-status");
    const actions = element("span", "ae-fact-actions");
    const buttons = {};
    for (const [action, label] of ACTIONS) {
      const button = element("button", `ae-small ae-${action}`);
      button.type = "button";
      button.textContent = label;
      button.addEventListener("click", () => ask({ do: action, key }));
      buttons[action] = button;
      actions.append(button);
    }
    const notes = element("div", "ae-fact-notes");
    const tokens = element("span", "ae-fact-tokens", "fact-tokens");
    const trueTokens = element("span", "ae-fact-tokens", "fact-true-tokens");
    const extra = element("span", "ae-quiet");
    notes.append(tokens, trueTokens, extra);
    row.append(status, actions, notes);
    return { row, number, inputs, status, actions, buttons, notes, tokens, trueTokens, extra };
  }

  function showTokens(node, name, tokens) {
    const said = tokens.join("\n");
    if (node.dataset.said === said) return;
    node.dataset.said = said;
    node.replaceChildren();
    if (tokens.length === 0) return;
    node.append(`${name}'s tokens: `);
    tokens.forEach((token, place) => {
      const chip = element("code", "ae-fact-token");
      chip.dir = "auto";
      chip.textContent = token;
      node.append(place ? " " : "", chip);
    });
  }

  function fill(part, data, place) {
    const [who, answered] = model.get("heard");
    const number = place + 1;
    text(part.number, String(number));
    part.row.dataset.row = number;
    part.row.dataset.new = Boolean(data.new);
    part.row.dataset.selected = data.key === model.get("selected");
    part.row.setAttribute("aria-label", data.new ? `Fact ${number}, empty` : `Fact ${number}`);
    for (const [field, label] of FIELDS) {
      const box = part.inputs[field];
      box.setAttribute("aria-label", `${label} ${number}`);
      if (box.pending && who === view && answered >= box.pending) box.pending = 0;
      // Text being typed or in transit is newer than the received value.
      if (!box.pending && !box.matches(":focus") && box.value !== data[field])
        box.value = data[field];
    }
    text(part.status, data.status);
    part.status.dataset.state = data.status.split(":")[0];
    for (const [action, label] of ACTIONS)
      part.buttons[action].setAttribute("aria-label", `${label} ${number}`);
    part.buttons.select.setAttribute("aria-pressed", String(data.key === model.get("selected")));
    part.actions.hidden = Boolean(data.new);
    showTokens(part.tokens, "target", data.tokens);
    showTokens(part.trueTokens, "true target", data.trueTokens);
    text(part.extra, data.extra);
    part.notes.hidden = data.tokens.length + data.trueTokens.length === 0 && !data.extra;
  }

  // If the focused row is removed, focus the same control of the row that replaces it.
  function leave(place, name) {
    const rows = [...list.children];
    const next = rows[Math.min(place, rows.length - 1)];
    const same = next?.querySelector(`.${name}`);
    const control = same && same.offsetParent ? same : next?.querySelector("input");
    control?.focus();
  }

  function draw() {
    // Removing the focused control fires its blur event in the middle of the redraw.
    if (drawing) return;
    drawing = true;
    try {
      drawAll();
    } finally {
      drawing = false;
    }
  }

  function drawAll() {
    const rows = model.get("rows");
    const kept = new Set(rows.map((row) => row.key));
    let left = null;
    [...list.children].forEach((row, place) => {
      const key = Number(row.dataset.key);
      if (kept.has(key)) return;
      const active = row.querySelector(":focus");
      if (active) left = [place, active.className.split(" ")[1]];
      parts.delete(key);
      row.remove();
    });
    rows.forEach((data, place) => {
      let part = parts.get(data.key);
      if (!part) {
        part = make(data.key);
        part.row.dataset.key = data.key;
        parts.set(data.key, part);
      }
      // Leave rows that keep their place untouched: moving one would drop its cursor.
      if (list.children[place] !== part.row)
        list.insertBefore(part.row, list.children[place] ?? null);
      fill(part, data, place);
    });
    if (left) leave(...left);
    if (wanted !== null && parts.has(wanted)) {
      parts.get(wanted).inputs.subject.focus();
      wanted = null;
    }
  }

  function told(message) {
    if (message?.focus === undefined) return;
    wanted = message.focus;
    draw();
  }

  const watched = ["rows", "selected", "heard"];
  for (const name of watched) model.on(`change:${name}`, draw);
  model.on("msg:custom", told);
  draw();
  return () => {
    for (const name of watched) model.off(`change:${name}`, draw);
    model.off("msg:custom", told);
  };
}

export default { render };
