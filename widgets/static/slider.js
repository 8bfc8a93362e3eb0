// A native range input with a name: ipywidgets' own slider has none for a screen reader.

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

  // While it is dragged, ten values a second are enough.
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
