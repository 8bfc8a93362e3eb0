"""The metrics by name; see :mod:`~alphaedit_core.evaluation.metrics.base`.

Every module of this folder is imported, so a new file's metrics are found without a change here.
:func:`register` adds a metric defined elsewhere.
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


#: Names of metrics in version 0.1, with the current ones.
_FORMER = {
    "generalisation": "generalization",
    "generalisation_accuracy": "generalization_accuracy",
    "said_first": "generation_starts",
    "said": "generation_contains",
    "said_in_chat": "chat_contains",
}


def present_name(name: str) -> str:
    """Return the current name of a metric, given any name that it has had."""
    return _FORMER.get(name, name)


def register(metric: type[MetricInfo]) -> type[MetricInfo]:
    """Register a metric by its name, for the API and the command.

    Raises:
        InputError: if the name is taken, or a required text is missing.
    """
    return _REGISTRY.register(metric)


def metrics() -> dict[str, type[MetricInfo]]:
    """Return all metrics by name."""
    return _REGISTRY.all()


def metric_class(name: str) -> type[MetricInfo]:
    """Return a metric by its name.

    Raises:
        InputError: if no metric has the name.
    """
    return _REGISTRY.get(present_name(name))


def metrics_for(dataset: str, compat: Compat = "paper") -> dict[str, type[MetricInfo]]:
    """Return the default metrics of a data set.

    Args:
        dataset: its name, or a name that starts with it and a hyphen.
        compat: whose definitions apply where the papers and EasyEdit differ.

    Raises:
        InputError: if the data set has no default metrics, or ``compat`` is unknown.
    """
    if compat not in get_args(Compat):
        raise InputError(f'compat "{compat}" is not known; give paper or easyedit')
    # "knowedit-wiki-recent" has the metrics of "knowedit".
    names = {dataset, dataset.partition("-")[0]}
    tags = names | {f"{name}:{compat}" for name in names}
    selected = {n: metric for n, metric in metrics().items() if tags & set(metric.default_for)}
    if not selected:
        known = {name.partition(":")[0] for m in metrics().values() for name in m.default_for}
        raise InputError(
            f'data set "{dataset}" has no default metrics; give some (--metrics), or one of '
            f"{', '.join(sorted(known))}"
        )
    return selected
