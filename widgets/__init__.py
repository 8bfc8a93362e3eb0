"""JupyterLab panels for an edit session; all numbers come from alphaedit_core.

from alphaedit_core import EditSession, load_model
from alphaedit_widgets import Workbench

wb = Workbench(EditSession(load_model()))
wb
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from alphaedit_core.messages import not_installed

for _package in ("anywidget", "ipywidgets", "plotly", "traitlets"):
    if find_spec(_package) is None:
        raise ImportError(not_installed("alphaedit_widgets", _package, "widgets"))

_HOMES = {
    "ComparePanel": "compare.panel",
    "DriftPanel": "drift.panel",
    "EditorsPanel": "editors.panel",
    "ExperimentPanel": "experiment.panel",
    "ExportPanel": "export.panel",
    "FactsPanel": "facts.panel",
    "StatusBar": "header",
    "HistoryPanel": "history.panel",
    "Interactive": "interactive_figure",
    "ProbesPanel": "probes.panel",
    "EditPanel": "edit.panel",
    "SpectrumPanel": "spectrum.panel",
    "State": "state",
    "Workbench": "workbench",
    "interactive": "interactive_figure",
}

__all__ = [*_HOMES]

# Repeated so that type checkers and code editors see the lazily imported names.
# ruff: noqa: F401
if TYPE_CHECKING:
    from .compare.panel import ComparePanel
    from .drift.panel import DriftPanel
    from .edit.panel import EditPanel
    from .editors.panel import EditorsPanel
    from .experiment.panel import ExperimentPanel
    from .export.panel import ExportPanel
    from .facts.panel import FactsPanel
    from .header import StatusBar
    from .history.panel import HistoryPanel
    from .interactive_figure import Interactive, interactive
    from .probes.panel import ProbesPanel
    from .spectrum.panel import SpectrumPanel
    from .state import State
    from .workbench import Workbench


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
