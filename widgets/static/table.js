// A table whose rows can be selected by click or by keyboard, and sorted by their columns.
// Texts are set as text, never as markup.

function render({ model, el }) {
  const holder = document.createElement("div");
  holder.className = "ae-scroll";
  el.append(holder);

  function sort(column) {
    const same = model.get("sorted_by") === column;
    model.set("descending", same ? !model.get("descending") : true);
    model.set("sorted_by", column);
    model.save_changes();
  }

  function select(index, focus) {
    model.set("selected", index);
    model.save_changes();
    if (focus) holder.querySelector(`tr[data-index="${index}"]`)?.focus();
  }

  function headings() {
    const row = document.createElement("tr");
    for (const name of model.get("columns")) {
      const cell = document.createElement("th");
      cell.scope = "col";
      if (model.get("sortable") && name) {
        const mine = model.get("sorted_by") === name;
        const down = model.get("descending");
        cell.setAttribute("aria-sort", mine ? (down ? "descending" : "ascending") : "none");
        const button = document.createElement("button");
        button.type = "button";
        button.className = "ae-sort";
        button.textContent = name + (mine ? (down ? " ↓" : " ↑") : "");
        button.addEventListener("click", () => sort(name));
        cell.append(button);
      } else {
        cell.textContent = name;
      }
      row.append(cell);
    }
    const head = document.createElement("thead");
    head.append(row);
    return head;
  }

  function body() {
    const made = document.createElement("tbody");
    const rows = model.get("rows");
    const selected = model.get("selected");
    const stop = rows.some((_, i) => model.get("row_keys")[i] === selected) ? selected : model.get("row_keys")[0];
    rows.forEach((cells, place) => {
      const index = model.get("row_keys")[place];
      const row = document.createElement("tr");
      row.dataset.index = index;
      row.tabIndex = index === stop ? 0 : -1;
      row.setAttribute("aria-selected", String(index === selected));
      cells.forEach((text) => {
        const cell = document.createElement("td");
        cell.dir = "auto";
        cell.textContent = text;
        row.append(cell);
      });
      row.addEventListener("click", () => select(index, false));
      row.addEventListener("keydown", (event) => {
        const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
        if (step) {
          const next = model.get("row_keys")[place + step];
          if (next !== undefined) select(next, true);
        } else if (event.key === "Enter" || event.key === " ") {
          select(index, true);
        } else return;
        event.preventDefault();
      });
      made.append(row);
    });
    return made;
  }

  function draw() {
    const inside = holder.contains(document.activeElement);
    const at = inside ? document.activeElement.closest("tr")?.dataset.index : undefined;
    const table = document.createElement("table");
    table.className = "ae-table ae-rows";
    table.setAttribute("role", "grid");
    table.setAttribute("aria-label", model.get("label"));
    table.dataset.testid = model.get("testid");
    table.append(headings(), body());
    holder.replaceChildren(table);
    if (at !== undefined) holder.querySelector(`tr[data-index="${at}"]`)?.focus();
  }

  const watched = ["columns", "rows", "selected", "sorted_by", "descending", "label"];
  for (const name of watched) model.on(`change:${name}`, draw);
  draw();
  return () => { for (const name of watched) model.off(`change:${name}`, draw); };
}

export default { render };
