"""AlphaEdit: change what a language model believes, and see exactly what that did.

Null-space constrained knowledge editing (Fang et al., ICLR 2025) with exact undo:

    from alphaedit_core import EditSession, Fact, load_model

    session = EditSession(load_model())
    session.edit([Fact("Eiffel Tower", "{} is located in the city of", "Rome")])
    session.undo()

Names are imported when they are first used, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._version import __version__

_HOMES = {
    "AlphaEditError": "errors",
    "Canceled": "errors",
    "CorruptFileError": "errors",
    "EditResult": "session.results",
    "EditSession": "session.session",
    "EditableModel": "model.editable_model",
    "Evaluation": "evaluation.evaluate",
    "Fact": "data.facts",
    "FetchError": "errors",
    "FingerprintError": "errors",
    "EditConfig": "editing.config",
    "InputError": "errors",
    "KeyStatistics": "covariance.files",
    "Monitor": "progress",
    "ModulePaths": "model.architecture",
    "Probe": "data.records",
    "Projector": "nullspace.projectors",
    "Record": "data.records",
    "SessionError": "errors",
    "Spectrum": "nullspace.spectrum",
    "StructureError": "errors",
    "Threshold": "nullspace.thresholds",
    "config_from_dict": "editing.configs",
    "collect_statistics": "covariance.collect",
    "compare_editors": "experiments.editor_comparison",
    "generate_greedy": "inference.completions",
    "default_hyperparameters": "editing.defaults",
    "evaluate": "evaluation.evaluate",
    "example_facts": "data.fact_files",
    "export_statistics": "covariance.files",
    "import_statistics": "covariance.importing",
    "load_model": "model.loading",
    "make_config": "editing.configs",
    "measure_ability": "side_effects.ability",
    "perplexity": "inference.scoring",
    "read_facts": "data.fact_files",
    "read_records": "data.datasets.reading",
    "read_tasks": "side_effects.ability_tasks",
    "target_logprobs": "inference.scoring",
    "eigendecompose": "nullspace.eigendecomposition",
    "eigendecompose_layer": "nullspace.eigendecomposition",
    "wrap": "model.loading",
    "write_facts": "data.fact_files",
}

__all__ = ["__version__", *_HOMES]

# The same names again, for type checkers and editors.
# ruff: noqa: F401
if TYPE_CHECKING:
    from alphaedit_core.data.datasets.reading import read_records
    from alphaedit_core.editing.defaults import default_hyperparameters
    from alphaedit_core.model.editable_model import EditableModel
    from alphaedit_core.nullspace.eigendecomposition import eigendecompose, eigendecompose_layer
    from alphaedit_core.nullspace.projectors import Projector
    from alphaedit_core.nullspace.thresholds import Threshold

    from .covariance.collect import collect_statistics
    from .covariance.files import KeyStatistics, export_statistics
    from .covariance.importing import import_statistics
    from .data.fact_files import example_facts, read_facts, write_facts
    from .data.facts import Fact
    from .data.records import Probe, Record
    from .editing.config import EditConfig
    from .editing.configs import config_from_dict, make_config
    from .errors import (
        AlphaEditError,
        Canceled,
        CorruptFileError,
        FetchError,
        FingerprintError,
        InputError,
        SessionError,
        StructureError,
    )
    from .evaluation.evaluate import Evaluation, evaluate
    from .experiments.editor_comparison import compare_editors
    from .inference.completions import generate_greedy
    from .inference.scoring import perplexity, target_logprobs
    from .model.architecture import ModulePaths
    from .model.loading import load_model, wrap
    from .nullspace.spectrum import Spectrum
    from .progress import Monitor
    from .session.results import EditResult
    from .session.session import EditSession
    from .side_effects.ability import measure_ability
    from .side_effects.ability_tasks import read_tasks


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
