"""Metrics of a model: the queries of all metrics run together, each once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from alphaedit_core.data.records import Record
from alphaedit_core.data.reference_texts import References
from alphaedit_core.display.data_frames import data_frame
from alphaedit_core.display.escaping import escape
from alphaedit_core.display.tables import html_table, text_table
from alphaedit_core.errors import InputError
from alphaedit_core.evaluation.metrics.base import (
    Compat,
    CompositeMetric,
    Metric,
    MetricContext,
    MetricInfo,
)
from alphaedit_core.evaluation.metrics.registry import metric_class, metrics_for
from alphaedit_core.inference.batch_generation import write
from alphaedit_core.inference.queries import (
    Answer,
    ArgmaxQuery,
    GenerationQuery,
    LikelihoodQuery,
    Query,
)
from alphaedit_core.inference.scoring import rate
from alphaedit_core.inference.token_by_token import has_chat
from alphaedit_core.model.editable_model import EditableModel, using_model
from alphaedit_core.progress import Monitor

if TYPE_CHECKING:
    import pandas

_HEADINGS = ("metric", "mean", "± error", "records", "better", "unit")
_COLUMNS: dict[str, type] = {
    "metric": str,
    "mean": float,
    "standard_error": float,
    "n": int,
    "direction": str,
    "unit": str,
    "source": str,
    "reason": str,
}


@dataclass(frozen=True)
class MetricResult:
    """One metric's number.

    Attributes:
        metric: the metric's class.
        values: one per record, None for a record without a value; empty for a composite metric.
        mean: mean of the values; None without values.
        error: standard error of the mean; None with fewer than two values.
        reason: why there is no mean, or "".
    """

    metric: type[MetricInfo]
    values: Sequence[float | None]
    mean: float | None
    error: float | None = None
    reason: str = ""

    @property
    def count(self) -> int:
        """The number of records with a value."""
        return sum(value is not None for value in self.values)

    def to_dict(self) -> dict[str, Any]:
        """Return the card and the numbers, ready for JSON."""
        return {
            **self.metric.card(),
            "mean": self.mean,
            "standard_error": self.error,
            "n": self.count,
            "reason": self.reason,
            "values": list(self.values),
        }


@dataclass(frozen=True)
class Evaluation:
    """The metrics of a model.

    Attributes:
        records: the records evaluated.
        measured: results by metric name.
        compat: whose definitions selected the default metrics.
        seed: seed of generated texts.
        answers: the model's answers by query.
    """

    records: Sequence[Record]
    measured: Mapping[str, MetricResult]
    compat: Compat = "paper"
    seed: int = 0
    answers: Mapping[Query, Answer] = field(default_factory=dict, repr=False)

    def __getitem__(self, name: str) -> MetricResult:
        return self.measured[name]

    def to_dict(self) -> dict[str, Any]:
        """Return all numbers with their cards, without the answers, ready for JSON."""
        return {
            "datasets": sorted({record.dataset for record in self.records}),
            "records": [record.name for record in self.records],
            "compat": self.compat,
            "seed": self.seed,
            "metrics": {name: result.to_dict() for name, result in self.measured.items()},
        }

    def to_pandas(self, per_record: bool = False) -> pandas.DataFrame:
        """Return a data frame with one row per metric, or one per record and metric.

        Columns per metric: ``metric``; ``mean``, ``standard_error``; ``n``, records with a value;
        ``direction`` (which is better), ``unit``, ``source``; ``reason``, why there is no mean.

        Columns per record: ``dataset``, ``record``, ``metric``, ``value``.

        Args:
            per_record: True for the value of each record; metrics made from others have none.

        Raises:
            InputError: if pandas is not installed.
        """
        measured = self.measured.items()
        if per_record:
            columns = {"dataset": str, "record": str, "metric": str, "value": float}
            return data_frame(
                columns,
                [
                    (record.dataset, record.name, name, value)
                    for name, result in measured
                    for record, value in zip(self.records, result.values, strict=False)
                ],
            )
        rows = [
            (name, result.mean, result.error, result.count, result.metric.direction,
             result.metric.unit, result.metric.source, result.reason)
            for name, result in measured
        ]  # fmt: skip
        return data_frame(_COLUMNS, rows)

    def rows(self) -> list[tuple[str, ...]]:
        """Return the table, one row per metric."""
        return [_row(result) for result in self.measured.values()]

    def reasons(self) -> list[str]:
        """Return one line for each metric without a number, with the reason."""
        results = self.measured.items()
        return [f"{name}: {result.reason}" for name, result in results if result.reason]

    def __repr__(self) -> str:
        return "\n".join([text_table(_HEADINGS, self.rows()), *self.reasons()])

    def _repr_html_(self) -> str:
        return (
            html_table(_HEADINGS, self.rows())
            + "".join(f"<p>{escape(reason)}</p>" for reason in self.reasons())
            + "<details><summary>Metric definitions</summary>"
            + metric_cards_html([result.metric for result in self.measured.values()])
            + "</details>"
        )


@using_model
def evaluate(
    model: EditableModel,
    records: Sequence[Record],
    metrics: Sequence[str | type[MetricInfo]] | None = None,
    monitor: Monitor | None = None,
    seed: int = 0,
    compat: Compat = "paper",
    references: References | None = None,
    before: Evaluation | None = None,
) -> Evaluation:
    """Evaluate a model with its current weights.

    Args:
        model: the model.
        records: at least one.
        metrics: names or classes; None for the default metrics of the records' data sets. The
            components of composite metrics are measured, too.
        monitor: reports progress, and cancels.
        seed: seed of sampled texts.
        compat: whose definitions select the default metrics.
        references: texts that consistency compares with.
        before: the evaluation of the unedited model on the same records, for metrics that compare
            with it.

    Raises:
        InputError: if there are no records, or a metric is unknown.
        Canceled: if canceled.
    """
    monitor = monitor or Monitor()
    if not records:
        raise InputError("no records; give at least one")
    classes = chosen(records, metrics, compat)
    context = MetricContext(references, None if before is None else before.answers, has_chat(model))
    instances = {n: metric(context) for n, metric in classes.items() if issubclass(metric, Metric)}
    by_metric = {
        name: [metric.queries(record) for record in records]
        for name, metric in instances.items()
        if metric.needs_baseline or not metric.unavailable_reason
    }
    queries = [
        query for lists in by_metric.values() for per_record in lists for query in per_record
    ]
    answers = _run_queries(model, queries, seed, monitor)
    measured: dict[str, MetricResult] = {}
    for name, metric in instances.items():
        values: list[float | None] = [None] * len(records)
        if not metric.unavailable_reason:
            values = [
                metric.value(record, [answers[query] for query in per_record])
                if per_record
                else None
                for record, per_record in zip(records, by_metric[name], strict=True)
            ]
        reason = metric.unavailable_reason or f"no record has {metric.needs}"
        measured[name] = _mean(type(metric), values, reason)
    for name, derived in classes.items():
        if issubclass(derived, CompositeMetric):
            measured[name] = _derived(derived, measured)
    # In the order requested.
    return Evaluation(list(records), {n: measured[n] for n in classes}, compat, seed, answers)


def comparing(metrics: Mapping[str, type[MetricInfo]]) -> list[str]:
    """Return the names of the metrics that compare with the unedited model."""
    return [n for n, card in metrics.items() if issubclass(card, Metric) and card.needs_baseline]


def compared_with(
    model: EditableModel,
    records: Sequence[Record],
    metrics: Sequence[str | type[MetricInfo]] | None = None,
    monitor: Monitor | None = None,
    seed: int = 0,
    compat: Compat = "paper",
) -> Evaluation | None:
    """Evaluate the unedited model for the metrics that compare with it; None if none does.

    All likelihood queries run, not only those of the metrics that compare. Which rows share a batch
    affects the last bits of the logits, and in 16 bits the argmax. So the answers equal those of
    :func:`evaluate` with the same metrics. Texts take most of the time and are generated only for
    the metrics that compare.

    Args:
        model: the unedited model.
        records: at least one.
        metrics: see :func:`evaluate`.
        monitor: see :func:`evaluate`.
        seed: see :func:`evaluate`.
        compat: see :func:`evaluate`.

    Returns:
        The evaluation, for ``before`` of :func:`evaluate`.

    Raises:
        InputError: as :func:`evaluate` does.
        Canceled: if canceled.
    """
    selected = chosen(records, metrics, compat)
    compared = comparing(selected)
    if not compared:
        return None

    def uses_likelihoods(metric: Metric) -> bool:
        return any(
            isinstance(query, LikelihoodQuery | ArgmaxQuery)
            for record in records
            for query in metric.queries(record)
        )

    context = MetricContext(chat=has_chat(model))
    names = [
        name
        for name, metric in selected.items()
        if name in compared or (issubclass(metric, Metric) and uses_likelihoods(metric(context)))
    ]
    return evaluate(model, records, names, monitor, seed, compat)


def chosen(
    records: Sequence[Record],
    metrics: Sequence[str | type[MetricInfo]] | None = None,
    compat: Compat = "paper",
) -> dict[str, type[MetricInfo]]:
    """Return the metrics that :func:`evaluate` measures, by name.

    Raises:
        InputError: if a metric is unknown or needs a package that is not installed, or a data set
            has no default metrics.
    """
    selected: dict[str, type[MetricInfo]] = {}
    if metrics is None:
        for dataset in dict.fromkeys(record.dataset for record in records):
            selected |= metrics_for(dataset, compat)
        return selected
    for metric in metrics:
        resolved = metric_class(metric) if isinstance(metric, str) else metric
        if issubclass(resolved, CompositeMetric):
            selected |= {name: metric_class(name) for name in resolved.of}
        selected[resolved.name] = resolved
    for resolved in selected.values():
        if missing := resolved.missing_package():
            raise InputError(missing)
    if not selected:
        raise InputError("no metrics; give at least one")
    return selected


def _run_queries(
    model: EditableModel, queries: Sequence[Query], seed: int, monitor: Monitor
) -> dict[Query, Answer]:
    """Return the answers to queries, each run once."""
    distinct = dict.fromkeys(queries)
    scored = [query for query in distinct if isinstance(query, LikelihoodQuery | ArgmaxQuery)]
    generated = [query for query in distinct if isinstance(query, GenerationQuery)]
    answers: dict[Query, Answer] = {}
    if generated:  # first, because a prompt may be too long
        with monitor.stage("texts", len(generated), "text"):
            texts = write(model, generated, seed, None, monitor, monitor.advance)
        answers |= zip(generated, texts, strict=True)
    if scored:
        # One pass gives both likelihood and argmax.
        pairs = list(dict.fromkeys((query.prompt, query.target) for query in scored))
        with monitor.stage("likelihoods", len(pairs), "target"):
            ratings = dict(zip(pairs, rate(model, pairs, None, monitor, monitor.advance),
                               strict=True))  # fmt: skip
        for query in scored:
            rating = ratings[query.prompt, query.target]
            answers[query] = (
                rating.score if isinstance(query, LikelihoodQuery) else rating.predicted
            )
    return answers


def _mean(metric: type[MetricInfo], values: Sequence[float | None], reason: str) -> MetricResult:
    present = [value for value in values if value is not None]
    if not present:
        return MetricResult(metric, values, None, None, reason)
    n, mean = len(present), sum(present) / len(present)
    squares = sum((value - mean) ** 2 for value in present)
    error = math.sqrt(squares / (n - 1) / n) if n > 1 else None
    return MetricResult(metric, values, mean, error)


def _derived(derived: type[CompositeMetric], measured: Mapping[str, MetricResult]) -> MetricResult:
    means = [measured[name].mean for name in derived.of]
    present = [mean for mean in means if mean is not None]
    if len(present) < len(means):
        missing = [name for name in derived.of if measured[name].mean is None]
        return MetricResult(derived, (), None, None, f"no value of {' and '.join(missing)}")
    return MetricResult(derived, (), derived().combine(present))


def _row(result: MetricResult) -> tuple[str, ...]:
    metric = result.metric
    mean = "none" if result.mean is None else f"{result.mean:.2f}"
    error = "" if result.error is None else f"{result.error:.2f}"
    count = str(result.count) if issubclass(metric, Metric) else ""
    return (metric.name, mean, error, count, metric.direction, metric.unit)


def metric_cards_html(metrics: Sequence[type[MetricInfo]]) -> str:
    """Return the metrics' definitions as an HTML list; all text is escaped."""
    return "<dl>" + "".join(_card(metric.card()) for metric in metrics) + "</dl>"


def _card(card: Mapping[str, str]) -> str:
    lines = [("", card["formula"]), ("Unit", card["unit"]), ("Better", card["direction"]),
             ("Source", card["source"]), ("Note", card["note"])]  # fmt: skip
    html = "".join(
        f"<dd>{escape(f'{name}: {text}' if name else text)}</dd>" for name, text in lines if text
    )
    return f"<dt><strong>{escape(card['title'])}</strong> ({escape(card['name'])})</dt>{html}"
