// A native range input with an accessible name, which ipywidgets' own slider lacks.

function render({ model, el }) {
  const input = document.createElement("input");
  input.type = "range";
  const box = document.createElement("div");
  box.className = "ae-slider";
  box.append(input);
  el.append(box);
  let timer;

  function show() {
    input.min = model.get("min");
    input.max = model.get("max");
    input.step = model.get("step");
    input.value = model.get("value");
    input.setAttribute("aria-label", model.get("label"));
    input.setAttribute("aria-valuetext", model.get("words"));
  }

  // During a drag, ten values a second are enough.
  input.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      model.set("value", Number(input.value));
      model.save_changes();
    }, 100);
  });
  const watched = ["min", "max", "step", "value", "label", "words"];
  for (const name of watched) model.on(`change:${name}`, show);
  show();
  return () => {
    clearTimeout(timer);
    for (const name of watched) model.off(`change:${name}`, show);
  };
}

export default { render };
