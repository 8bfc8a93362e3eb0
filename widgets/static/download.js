// A button that makes the browser save a file. The file arrives in a message after the press; if
// the button has several views, only the pressed one saves the file.

function render({ model, el }) {
  const button = document.createElement("button");
  button.type = "button";
  button.style.width = "auto";
  el.append(button);
  let asked;

  function show() {
    button.textContent = model.get("label");
    button.disabled = model.get("disabled");
    button.className = `jupyter-widgets jupyter-button widget-button ${model.get("hook")}`;
  }

  function press() {
    asked = `${Date.now()}-${Math.random()}`;
    model.send({ kind: "press", token: asked });
  }

  function receive(message, buffers) {
    if (message.kind !== "file" || message.token !== asked) return;
    asked = undefined;
    const address = URL.createObjectURL(new Blob([buffers[0]], { type: message.type }));
    const link = document.createElement("a");
    link.href = address;
    link.download = message.name;
    document.body.append(link);
    link.click();
    link.remove();
    // Revoke later: the browser is still reading from the URL.
    setTimeout(() => URL.revokeObjectURL(address), 10000);
  }

  button.addEventListener("click", press);
  model.on("msg:custom", receive);
  const watched = ["label", "disabled", "hook"];
  for (const name of watched) model.on(`change:${name}`, show);
  show();
  return () => {
    model.off("msg:custom", receive);
    for (const name of watched) model.off(`change:${name}`, show);
  };
}

export default { render };
