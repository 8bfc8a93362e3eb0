// Inside our panels JupyterLab's shortcuts are off: in its command mode it would take arrows, Enter
// and letters from the focused element. Figures that were drawn while their tab was hidden
// are resized to their present width.

function render({ el }) {
  el.style.display = "none";
  const quiet = (event) => {
    if (event.target.closest?.(".ae-panel")) event.target.dataset.lmSuppressShortcuts = "true";
  };
  const fit = (event) => {
    if (event.target.closest?.('.ae-panel [role="tab"]')) {
      for (const wait of [200, 1500]) setTimeout(() => window.dispatchEvent(new Event("resize")), wait);
    }
  };
  document.addEventListener("focusin", quiet);
  document.addEventListener("click", fit);
  return () => {
    document.removeEventListener("focusin", quiet);
    document.removeEventListener("click", fit);
  };
}

export default { render };
