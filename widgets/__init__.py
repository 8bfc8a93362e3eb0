"""Views of an edit session for JupyterLab; they hold no numbers of their own.

from alphaedit_core import EditSession, load_model
from widgets import Workbench

wb = Workbench(EditSession(load_model()))
wb
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOMES = {
    "ComparePanel": "compare",
    "DriftPanel": "drift",
    "EditorsPanel": "editors",
    "ExperimentPanel": "experiment",
    "ExportPanel": "export",
    "FactsPanel": "facts",
    "HeaderPanel": "header",
    "HistoryPanel": "history",
    "Interactive": "interactive_figure",
    "ProbesPanel": "probes",
    "RunPanel": "run",
    "SpectrumPanel": "spectrum",
    "State": "state",
    "Workbench": "workbench",
    "interactive": "interactive_figure",
}

__all__ = [*_HOMES]

# The same names again, for type checkers and editors.
# ruff: noqa: F401
if TYPE_CHECKING:
    from .compare import ComparePanel
    from .drift import DriftPanel
    from .editors import EditorsPanel
    from .experiment import ExperimentPanel
    from .export import ExportPanel
    from .facts import FactsPanel
    from .header import HeaderPanel
    from .history import HistoryPanel
    from .interactive_figure import Interactive, interactive
    from .probes import ProbesPanel
    from .run import RunPanel
    from .spectrum import SpectrumPanel
    from .state import State
    from .workbench import Workbench


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
