"""Items of every task of general ability, and files of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tiny import prose

#: Long enough for four examples of our own items.
LONG = {"max_position_embeddings": 512}


def binary(number: int, **fields: Any) -> dict[str, Any]:
    """The fields of an item with two labels, of which each is every other item's."""
    return {"label": number % 2, "idx": number} | fields


#: How an item of each task is written, by a number.
WRITTEN: dict[str, Any] = {
    "sst2": lambda n: binary(n, sentence=f"{prose(4, n)} is old, {n} times "),
    "mrpc": lambda n: binary(n, sentence1=f"Rome has {n}.", sentence2="Rome is {old}."),
    "cola": lambda n: binary(n, sentence=f"{prose(6, n)} were {n}."),
    "rte": lambda n: binary(n, sentence1=f"Italy has {n}.", sentence2="Italy is old."),
    "nli": lambda n: {
        "index": str(n), "sentence1": f"Japan has {n}.", "sentence2": "It is in Europe.",
        "label": ("entailment", "not_entailment")[n % 2],
    },
    "mmlu": lambda n: {
        "question": f"What is {n}?", "subject": "x", "choices": ["Rome", "3", prose(3, n), "No"],
        "answer": n % 4,
    },
    "sentiment_analysis": lambda n: {"sentence": f"so old, {n} . ' ", "label": str(n % 2)},
    "dialogue": lambda n: {
        "answers": "ABC"[n % 3], "article": f"f : {prose(5, n)} . m : no .", "id": f"dev_{n}",
        "options": ["f : well .", "f : and {n} ?", "m : Rome ?"],
    },
}  # fmt: skip


def write(file: Path, content: object) -> Path:
    """A file with this content as JSON."""
    file.write_text(json.dumps(content), encoding="utf-8")
    return file
