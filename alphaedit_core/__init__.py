"""AlphaEdit: edit facts in a language model, and measure exactly what changed.

Null-space constrained knowledge editing (Fang et al., ICLR 2025) with exact undo:

    from alphaedit_core import EditSession, Fact, load_model

    session = EditSession(load_model())
    session.edit([Fact("Eiffel Tower", "{} is located in the city of", "Rome")])
    session.undo()

Public names are imported at first use, which keeps ``import alphaedit_core`` fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._version import __version__

# The module of each public name, with ":" before the name there if it is another.
_HOMES = {
    "AlphaEditError": "errors",
    "Canceled": "errors",
    "CorruptFileError": "errors",
    "DriftTracker": "side_effects.drift",
    "EditConfig": "editing.config",
    "EditResult": "session.results",
    "EditSession": "session.session",
    "EditableModel": "model.editable_model",
    "Evaluation": "evaluation.evaluate",
    "ExperimentPlan": "experiments.plan",
    "ExperimentResult": "experiments.results",
    "ExtraMeasurements": "experiments.plan",
    "Fact": "data.facts",
    "FetchError": "errors",
    "FineTuner": "editing.editors.base",
    "FingerprintError": "errors",
    "InputError": "errors",
    "InverseCovariance": "nullspace.projectors",
    "KeyStatistics": "covariance.files",
    "LayerInputs": "editing.editors.base",
    "ModulePaths": "model.architecture",
    "Monitor": "progress",
    "PreviousKeys": "editing.closed_form",
    "Probe": "data.records",
    "Projector": "nullspace.projectors",
    "Record": "data.records",
    "SessionError": "errors",
    "Spectrum": "nullspace.spectrum",
    "StructureError": "errors",
    "TextBaseline": "side_effects.drift",
    "Threshold": "nullspace.thresholds",
    "ability_of_states": "side_effects.ability",
    "capture_inputs": "model.forward:tap",
    "collect_statistics": "covariance.collect",
    "compare_editors": "experiments.editor_comparison",
    "config_from_dict": "editing.configs",
    "counterfact_scores": "evaluation.counterfact_scores",
    "curves_html": "display.line_chart",
    "default_hyperparameters": "editing.defaults",
    "default_tokens": "covariance.collect",
    "dense_update": "editing.weight_updates:dense",
    "drift_columns": "side_effects.drift_figure",
    "editor_class": "editing.editors.registry",
    "editors": "editing.editors.registry",
    "eigendecompose": "nullspace.eigendecomposition",
    "eigendecompose_layer": "nullspace.eigendecomposition",
    "evaluate": "evaluation.evaluate",
    "example_facts": "data.fact_files",
    "experiment_retention_html": "experiments.figures",
    "export_statistics": "covariance.files",
    "fact_keys": "editing.key_projection",
    "facts_table_html": "data.facts",
    "family_html": "experiments.family_figure",
    "format_value": "editing.config_fields",
    "generate_greedy": "inference.completions",
    "hidden_drift": "side_effects.hidden_states",
    "html_table": "display.tables",
    "import_statistics": "covariance.importing",
    "last_token_hidden_states": "side_effects.hidden_states:end_states",
    "load_experiment": "experiments.folder",
    "load_model": "model.loading",
    "make_config": "editing.configs",
    "measure_ability": "side_effects.ability",
    "metric_cards_html": "evaluation.evaluate",
    "metrics_for": "evaluation.metrics.registry",
    "ngram_entropy": "evaluation.metrics.fluency:variety",
    "open_text": "corpora.sources",
    "pack_windows": "covariance.collect:pack",
    "parse_method": "experiments.editor_comparison",
    "perplexity": "inference.scoring",
    "presets": "editing.defaults",
    "pruned_sum": "editing.weight_updates",
    "published_scores": "experiments.paper_results:published",
    "quiet_transformers": "model.model_sources",
    "read_facts": "data.fact_files",
    "read_records": "data.datasets.reading",
    "read_tasks": "side_effects.ability_tasks",
    "retention": "side_effects.batch_retention",
    "run_experiment": "experiments.runner",
    "save_report": "experiments.report",
    "sequence_html": "experiments.sequence_figure",
    "target_logprobs": "inference.scoring",
    "text_table": "display.tables",
    "unrelated_sentences": "side_effects.hidden_states:sentences_without",
    "with_editor": "editing.configs",
    "wrap": "model.loading",
    "write_facts": "data.fact_files",
}

__all__ = ["__version__", *_HOMES]

# The same imports for type checkers and IDEs.
# ruff: noqa: F401
if TYPE_CHECKING:
    from .corpora.sources import open_text
    from .covariance.collect import collect_statistics, default_tokens
    from .covariance.collect import pack as pack_windows
    from .covariance.files import KeyStatistics, export_statistics
    from .covariance.importing import import_statistics
    from .data.datasets.reading import read_records
    from .data.fact_files import example_facts, read_facts, write_facts
    from .data.facts import Fact, facts_table_html
    from .data.records import Probe, Record
    from .display.line_chart import curves_html
    from .display.tables import html_table, text_table
    from .editing.closed_form import PreviousKeys
    from .editing.config import EditConfig
    from .editing.config_fields import format_value
    from .editing.configs import config_from_dict, make_config, with_editor
    from .editing.defaults import default_hyperparameters, presets
    from .editing.editors.base import FineTuner, LayerInputs
    from .editing.editors.registry import editor_class, editors
    from .editing.key_projection import fact_keys
    from .editing.weight_updates import dense as dense_update
    from .editing.weight_updates import pruned_sum
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
    from .evaluation.counterfact_scores import counterfact_scores
    from .evaluation.evaluate import Evaluation, evaluate, metric_cards_html
    from .evaluation.metrics.fluency import variety as ngram_entropy
    from .evaluation.metrics.registry import metrics_for
    from .experiments.editor_comparison import compare_editors, parse_method
    from .experiments.family_figure import family_html
    from .experiments.figures import experiment_retention_html
    from .experiments.folder import load_experiment
    from .experiments.paper_results import published as published_scores
    from .experiments.plan import ExperimentPlan, ExtraMeasurements
    from .experiments.report import save_report
    from .experiments.results import ExperimentResult
    from .experiments.runner import run_experiment
    from .experiments.sequence_figure import sequence_html
    from .inference.completions import generate_greedy
    from .inference.scoring import perplexity, target_logprobs
    from .model.architecture import ModulePaths
    from .model.editable_model import EditableModel
    from .model.forward import tap as capture_inputs
    from .model.loading import load_model, wrap
    from .model.model_sources import quiet_transformers
    from .nullspace.eigendecomposition import eigendecompose, eigendecompose_layer
    from .nullspace.projectors import InverseCovariance, Projector
    from .nullspace.spectrum import Spectrum
    from .nullspace.thresholds import Threshold
    from .progress import Monitor
    from .session.results import EditResult
    from .session.session import EditSession
    from .side_effects.ability import ability_of_states, measure_ability
    from .side_effects.ability_tasks import read_tasks
    from .side_effects.batch_retention import retention
    from .side_effects.drift import DriftTracker, TextBaseline
    from .side_effects.drift_figure import drift_columns
    from .side_effects.hidden_states import end_states as last_token_hidden_states
    from .side_effects.hidden_states import hidden_drift
    from .side_effects.hidden_states import sentences_without as unrelated_sentences


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _HOMES[name].partition(":")
    return getattr(import_module(f".{module}", __name__), attribute or name)


def __dir__() -> list[str]:
    return sorted(__all__)
