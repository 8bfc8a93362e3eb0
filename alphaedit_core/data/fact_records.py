"""A fact from one record: the fields of a fact, the released names, or CounterFact's form."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from alphaedit_core.errors import InputError
from alphaedit_core.messages import did_you_mean, kind, shown

from .facts import FIELDS, FORMER, REQUIRED, Fact
from .templates import SLOT

CELL_SEPARATOR = " | "
"""What separates the texts in one cell of a table."""

RELEASED = {"target_new": "target", "ground_truth": "target_true"}
"""Fields of released code and data, by a fact's own names."""

UNNAMED = re.compile(r"(Unnamed: \d+|__index_level_\d+__)?")
"""Column names of an index that was written to a file by pandas or datasets."""

#: Fields that identify a record of a published data set.
_OF_DATASETS = (
    "ground_truth", "rephrase_prompt", "rephrase", "locality", "portability", "target_neg",
    "leme_inputs", "src", "alt", "concept", "labels",
)  # fmt: skip

_FROM_REWRITE = {
    "subject": "subject",
    "prompt": "prompt",
    "target_new": "target_new",
    "target_true": "target_true",
    "relation_id": "relation",
    "replaces": "replaces",
}
_FROM_COUNTERFACT = {"paraphrase_prompts": "paraphrases", "neighborhood_prompts": "neighbors"}


def fact_from_record(record: object) -> Fact:
    """Return the fact in a record, which has the fields of a fact or CounterFact's form.

    ``target_new`` is read as ``target``, and ``ground_truth`` as ``target_true`` if the prompt has
    a ``{}``. A target may be written ``{"str": "Rome"}``. A record with ``requested_rewrite`` is
    CounterFact's: its prompts become paraphrases and neighbors, and its other fields are ignored.

    Raises:
        InputError: if the record has none of those forms, or the fact would not be valid.
    """
    if not isinstance(record, Mapping):
        return Fact.from_dict(record)  # type: ignore[arg-type]  # raises InputError
    fields = _counterfact_fields(record) if "requested_rewrite" in record else dict(record)
    for name in _OF_DATASETS:
        if name in fields and not (name == "ground_truth" and SLOT in str(fields.get("prompt"))):
            raise InputError(
                f"field {shown(name)} is of a data set's record; alphaedit evaluate reads such a "
                "file with --dataset (see alphaedit datasets), or give subject, prompt with {} and "
                "target alone"
            )
    for released, name in RELEASED.items():
        if released not in fields:
            continue
        if name in fields:
            raise InputError(f'"{name}" and "{released}" are both given; remove one of them')
        fields[name] = fields.pop(released)
    truth = fields.get("target_true")
    if isinstance(truth, list) and len(truth) == 1:  # EasyEdit's answers are lists
        fields["target_true"] = truth[0]
    for name in ("target", "target_true"):
        value = fields.get(name)
        if isinstance(value, Mapping) and "str" in value:
            fields[name] = value["str"]
    return Fact.from_dict(fields)


def check_columns(names: Sequence[object], remedy: str = "drop it, or use one of") -> None:
    """Refuse columns of a table that are unknown, duplicated or missing.

    Args:
        names: names of the columns.
        remedy: what the refusal of an unknown column says before the list of known names.

    Raises:
        InputError: naming the first such column.
    """
    known = (*FIELDS, *FORMER, *RELEASED)
    for name in names:
        if isinstance(name, str) and UNNAMED.fullmatch(name):
            continue
        if name not in known and name not in _OF_DATASETS:
            raise InputError(
                f"column {shown(name)} is not known; {did_you_mean(name, known)}{remedy} "
                f"{', '.join(FIELDS)}"
            )
        if names.count(name) > 1:
            raise InputError(f"column {shown(name)} is there twice; remove one")
    for name in REQUIRED:
        if name not in names and not (name == "target" and "target_new" in names):
            raise InputError(f'column "{name}" is missing; add it')


def _counterfact_fields(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a fact in a CounterFact record, under a fact's names."""
    rewrite = record["requested_rewrite"]
    if not isinstance(rewrite, Mapping):
        raise InputError(
            f"requested_rewrite {shown(rewrite)} is {kind(rewrite)}; give one object with subject, "
            "prompt and target_new, or evaluate a file of MQuAKE with --dataset mquake-cf"
        )
    fields = {ours: rewrite[theirs] for theirs, ours in _FROM_REWRITE.items() if theirs in rewrite}
    prompts = {
        ours: record[theirs] for theirs, ours in _FROM_COUNTERFACT.items() if theirs in record
    }
    return fields | prompts
