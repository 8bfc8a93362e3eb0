"""Metrics of edits, each one short file; see :mod:`~alphaedit_core.evaluation.metrics.base`.

All files of this folder are read, so that a new metric is found by being there; :func:`register`
takes one that lives elsewhere.
"""

from __future__ import annotations

from typing import get_args

from alphaedit_core.errors import InputError
from alphaedit_core.registry import Registry

from .base import Compat, MetricInfo

_REGISTRY = Registry[MetricInfo](
    MetricInfo,
    "metric",
    __package__,
    "alphaedit.metrics",
    required_text=("name", "title", "formula", "source"),
    order=(
        "efficacy", "generalization", "specificity", "score", "efficacy_accuracy",
        "generalization_accuracy", "specificity_accuracy", "rewrite_acc", "rephrase_acc",
        "neighborhood_acc", "portability", "portability_acc", "locality", "locality_acc",
        "single_hops", "multi_hop", "multi_hop_tokens", "essay_new", "essay_no_old",
        "essay_coupled_new", "essay_coupled_no_old", "generation_starts", "generation_contains",
        "chat_contains",
        "fluency", "consistency",
    ),
    names="some",
)  # fmt: skip


#: Names of metrics in files and calls of version 0.1, and what they are called now.
_FORMER = {
    "generalisation": "generalization",
    "generalisation_accuracy": "generalization_accuracy",
    "said_first": "generation_starts",
    "said": "generation_contains",
    "said_in_chat": "chat_contains",
}


def present_name(name: str) -> str:
    """What a metric is called now, by any name that it has had."""
    return _FORMER.get(name, name)


def register(metric: type[MetricInfo]) -> type[MetricInfo]:
    """Make a metric known by its name, to the API and the command.

    Raises:
        InputError: if another metric has the name, or a part of what it must say is missing.
    """
    return _REGISTRY.register(metric)


def metrics() -> dict[str, type[MetricInfo]]:
    """All metrics by name."""
    return _REGISTRY.all()


def metric_class(name: str) -> type[MetricInfo]:
    """A metric by its name.

    Raises:
        InputError: if there is none of that name.
    """
    return _REGISTRY.named(present_name(name))


def metrics_for(dataset: str, compat: Compat = "paper") -> dict[str, type[MetricInfo]]:
    """The usual metrics of a data set.

    Args:
        dataset: its name, or one that begins with it and a hyphen.
        compat: by whose definitions, where the papers and EasyEdit differ.

    Raises:
        InputError: if there are none for it, or the definitions are nobody's.
    """
    if compat not in get_args(Compat):
        raise InputError(f'compat "{compat}" is not known; give paper or easyedit')
    # Of "knowedit-wiki-recent" those of "knowedit" are meant.
    names = {dataset, dataset.partition("-")[0]}
    wanted = names | {f"{name}:{compat}" for name in names}
    found = {n: metric for n, metric in metrics().items() if wanted & set(metric.default_for)}
    if not found:
        known = {name.partition(":")[0] for m in metrics().values() for name in m.default_for}
        raise InputError(
            f'there are no usual metrics for a data set "{dataset}"; name some (--metrics), or '
            f"give one of {', '.join(sorted(known))}"
        )
    return found
