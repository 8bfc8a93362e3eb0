"""What an experiment runs, and what it measures beside the records' own metrics."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
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


@dataclass(frozen=True)
class ExperimentPlan:
    """What an experiment runs.

    Attributes:
        methods: hyperparameters of each method, in the order they are run.
        edits: records written in all; all of the data set's if it has fewer.
        batch_size: records written together.
        evaluate_every: records after which the model is measured on everything written so far,
            a multiple of ``batch_size``; None for the end alone.
        metrics: names of metrics; none for the data set's own.
        at_end: those of them that are measured after all records alone, as texts that a metric has
            written can cost more than everything else.
        compat: whose definition where papers and toolkits differ, see :mod:`.metrics`.
        seed: of the texts that metrics have written.
    """

    methods: tuple[StoredConfig, ...]
    edits: int = 2000
    batch_size: int = 100
    evaluate_every: int | None = None
    metrics: tuple[str, ...] = ()
    at_end: tuple[str, ...] = ()
    compat: Compat = "paper"
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be run, by name.

        Raises:
            InputError: if a value is out of range, or two methods are the same.
        """
        if not self.methods:
            raise InputError("no editor is named; give at least one")
        for name in ("edits", "batch_size", "evaluate_every"):
            value = getattr(self, name)
            if value is None:
                continue
            whole = as_integer(value)
            if whole is None or whole < 1:
                raise InputError(f"{name} {value!r} is not a whole number above 0; give 1 or more")
            object.__setattr__(self, name, whole)
        for name in ("metrics", "at_end"):
            object.__setattr__(self, name, tuple(map(present_name, getattr(self, name))))
        if type(self.seed) is not int or not 0 <= self.seed < 1 << 63:
            raise InputError(f"seed {self.seed!r} cannot be used; give 0 to 2**63 - 1")
        if self.evaluate_every is not None and self.evaluate_every % self.batch_size:
            raise InputError(
                f"evaluate_every {self.evaluate_every} is not a multiple of batch_size "
                f"{self.batch_size}; give for example {self.batch_size}"
            )
        for place, hp in enumerate(self.methods):
            if hp in self.methods[:place]:
                raise InputError(f'method "{hp.method}" is named twice; leave one out')

    def names(self) -> list[str]:
        """What each method is called: with what differs where some differ in that alone."""
        fields = [(hp.method, hp.to_dict()) for hp in self.methods]
        names = [
            ", ".join(
                [method, *(
                    f"{name} {format_value(value)}"
                    for name, value in own.items()
                    if name != "source"
                    and any(each == method and other[name] != value for each, other in fields)
                )]
            )
            for method, own in fields
        ]  # fmt: skip
        return [
            name if names.count(name) == 1 else f"{name} ({names[: place + 1].count(name)})"
            for place, name in enumerate(names)
        ]

    def to_dict(self) -> dict[str, Any]:
        """All fields, ready for JSON."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return values | {
            "methods": [hp.to_dict() for hp in self.methods],
            "metrics": list(self.metrics),
            "at_end": list(self.at_end),
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> ExperimentPlan:
        """The inverse of :meth:`to_dict`.

        Raises:
            InputError: for a field that is missing, does not exist or cannot be used.
        """
        return read_record(cls, fields)


@dataclass(frozen=True)
class ExtraMeasurements:
    """What is measured beside the records' own metrics, all of it optional.

    Attributes:
        text: running text for the perplexity.
        tasks: tasks of general ability.
        references: texts that share the new attribute, by target, for the consistency.
        drift: the text that drift is measured on, as :func:`~.sources.open_text` takes it; see
            :func:`~.drift.default_probe`.
    """

    text: str | None = None
    tasks: Sequence[Task] = ()
    references: References | None = None
    drift: str | None = None

    def digest(self) -> dict[str, str | None]:
        """SHA-256 of each, by name; of drift's text its name."""
        whole = {
            "text": self.text,
            "tasks": [asdict(task) for task in self.tasks] or None,
            "references": None if self.references is None else self.references.to_dict(),
        }
        return {
            name: None if held is None else sha256(json.dumps(held).encode()).hexdigest()
            for name, held in whole.items()
        } | {"drift": self.drift}


def check_at_end(names: Iterable[str], metrics: Collection[str]) -> None:
    """Refuse what cannot be left to the end, because it is not measured.

    Raises:
        InputError: naming the first such metric.
    """
    for name in names:
        if name not in metrics:
            raise InputError(
                f'at_end: the metric "{name}" is not measured at all; leave it out, or give some '
                f"of {', '.join(metrics)}"
            )


def batched(records: Sequence[Record], size: int) -> tuple[list[list[Record]], list[Record]]:
    """Batches of records, none empty, and the records left out: see :func:`~.records.distinct`."""
    batches: list[list[Record]] = []
    left_out: list[Record] = []
    for start in range(0, len(records), size):
        found = distinct(records[start : start + size])
        if found.records:
            batches.append(found.records)
        left_out += found.left_out
    return batches, left_out
