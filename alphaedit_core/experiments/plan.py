"""The plan of an experiment, and measurements beside the records' metrics."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, asdict, dataclass
from hashlib import sha256
from typing import Any

from alphaedit_core.data.records import Record, distinct
from alphaedit_core.data.reference_texts import References
from alphaedit_core.editing.config_fields import format_value
from alphaedit_core.editing.configs import StoredConfig
from alphaedit_core.errors import InputError
from alphaedit_core.evaluation.metrics.base import Compat
from alphaedit_core.evaluation.metrics.registry import present_name
from alphaedit_core.integers import as_integer
from alphaedit_core.side_effects.ability_tasks import Task
from alphaedit_core.storage.typed_records import read_record

#: The key of ``final_only`` in ``experiment.json``.
_STORED_FINAL_ONLY = "at_end"


@dataclass(frozen=True)
class ExperimentPlan:
    """The methods, records and metrics of an experiment.

    Attributes:
        methods: hyperparameters of each method, in the order they are run.
        edits: number of records to write; the whole data set if it has fewer.
        batch_size: records per batch.
        evaluate_every: number of records between evaluations, a multiple of ``batch_size``; None
            to evaluate only after the last record.
        metrics: names of metrics; empty for the data set's default metrics.
        final_only: metrics that are evaluated only after the last record. Metrics that generate
            text can take longer than everything else.
        compat: definitions to use where papers and toolkits differ, see :mod:`.metrics`.
        seed: seed of the generated texts.
    """

    methods: tuple[StoredConfig, ...]
    _: KW_ONLY
    edits: int = 2000
    batch_size: int = 100
    evaluate_every: int | None = None
    metrics: tuple[str, ...] = ()
    final_only: tuple[str, ...] = ()
    compat: Compat = "paper"
    seed: int = 0

    def __post_init__(self) -> None:
        """Check all fields.

        Raises:
            InputError: if a value is out of range, or two methods are equal.
        """
        if not self.methods:
            raise InputError("no editor is given; give at least one")
        for name in ("edits", "batch_size", "evaluate_every"):
            value = getattr(self, name)
            if value is None:
                continue
            number = as_integer(value)
            if number is None or number < 1:
                raise InputError(f"{name} {value!r} is not a whole number above 0; give 1 or more")
            object.__setattr__(self, name, number)
        for name in ("metrics", "final_only"):
            object.__setattr__(self, name, tuple(map(present_name, getattr(self, name))))
        if type(self.seed) is not int or not 0 <= self.seed < 1 << 63:
            raise InputError(f"seed {self.seed!r} cannot be used; give 0 to 2**63 - 1")
        if self.evaluate_every is not None and self.evaluate_every % self.batch_size:
            raise InputError(
                f"evaluate_every {self.evaluate_every} is not a multiple of batch_size "
                f"{self.batch_size}; give for example {self.batch_size}"
            )
        for index, hp in enumerate(self.methods):
            if hp in self.methods[:index]:
                raise InputError(f'method "{hp.method}" is given twice; leave one out')

    def names(self) -> list[str]:
        """Return a unique name per method, with the fields in which methods of one name differ."""
        fields = [(hp.method, hp.to_dict()) for hp in self.methods]
        names = [
            ", ".join(
                [method, *(
                    f"{name} {format_value(value)}"
                    for name, value in values.items()
                    if name != "source"
                    and any(
                        other == method and others[name] != value for other, others in fields
                    )
                )]
            )
            for method, values in fields
        ]  # fmt: skip
        return [
            name if names.count(name) == 1 else f"{name} ({names[: index + 1].count(name)})"
            for index, name in enumerate(names)
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as JSON-serializable values, in the form of ``experiment.json``."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        del values["final_only"]
        return values | {
            "methods": [hp.to_dict() for hp in self.methods],
            "metrics": list(self.metrics),
            _STORED_FINAL_ONLY: list(self.final_only),
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> ExperimentPlan:
        """Read the fields that :meth:`to_dict` returns.

        Raises:
            InputError: if a field is missing, unknown or invalid.
        """
        fields = dict(fields)
        if _STORED_FINAL_ONLY in fields:
            fields["final_only"] = fields.pop(_STORED_FINAL_ONLY)
        return read_record(cls, fields)


@dataclass(frozen=True, kw_only=True)
class ExtraMeasurements:
    """Measurements beside the records' metrics, all optional.

    Attributes:
        text: running text for perplexity.
        tasks: tasks of general ability.
        references: texts per target that share the new attribute, for consistency.
        drift: text to measure drift on, as accepted by :func:`~.sources.open_text`; see
            :func:`~.drift.default_probe`.
    """

    text: str | None = None
    tasks: Sequence[Task] = ()
    references: References | None = None
    drift: str | None = None

    def digest(self) -> dict[str, str | None]:
        """Return the SHA-256 of each field, by name; for ``drift`` the name of the text."""
        contents = {
            "text": self.text,
            "tasks": [asdict(task) for task in self.tasks] or None,
            "references": None if self.references is None else self.references.to_dict(),
        }
        return {
            name: None if content is None else sha256(json.dumps(content).encode()).hexdigest()
            for name, content in contents.items()
        } | {"drift": self.drift}


def check_final_only(names: Iterable[str], metrics: Collection[str]) -> None:
    """Check that every metric of ``final_only`` is measured.

    Args:
        names: the metrics of ``final_only``.
        metrics: all metrics of the experiment.

    Raises:
        InputError: if a name is not among the metrics.
    """
    for name in names:
        if name not in metrics:
            raise InputError(
                f'final_only: the metric "{name}" is not measured; leave it out, or give some of '
                f"{', '.join(metrics)}"
            )


def batched(records: Sequence[Record], size: int) -> tuple[list[list[Record]], list[Record]]:
    """Split records into batches without duplicates; see :func:`~.records.distinct`.

    Args:
        records: the records, in order.
        size: records per batch.

    Returns:
        Batches, none of them empty, and the duplicates that were left out.
    """
    batches: list[list[Record]] = []
    left_out: list[Record] = []
    for start in range(0, len(records), size):
        unique = distinct(records[start : start + size])
        if unique.records:
            batches.append(unique.records)
        left_out += unique.left_out
    return batches, left_out
