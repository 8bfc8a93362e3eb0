"""General ability tasks: reading their files, and turning each item into a question with options.

======================  ===========================================================================
file                    items, one JSON object each in a list
======================  ===========================================================================
sst2,                   ``sentence``, ``label`` 0 (negative) or 1 (positive); SST-2, Socher et al.
sentiment_analysis      2013
mrpc                    ``sentence1``, ``sentence2``, ``label`` 0 or 1 (a paraphrase); Dolan and
                        Brockett 2005
cola                    ``sentence``, ``label`` 0 or 1 (acceptable); Warstadt et al. 2019
rte                     ``sentence1``, ``sentence2``, ``label`` 0 (entailment) or 1 (not); the RTE
                        challenges, in GLUE, Wang et al. 2019
nli                     the same with ``entailment`` or ``not_entailment`` as the label
mmlu                    ``question``, ``choices``, ``answer`` 0, 1 … or A, B …; Hendrycks et al.
                        2021
dialogue                ``article``, ``options``, ``answers`` A, B …; MuTual, Cui et al. 2020
======================  ===========================================================================

Labels may be numbers or strings. The wording of the questions is this project's own. In RTE, label
1 means that the second sentence does *not* follow, as in GLUE.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from json import JSONDecodeError
from pathlib import Path
from typing import Any

from alphaedit_core.errors import InputError
from alphaedit_core.messages import kind, shown
from alphaedit_core.storage.json_text import parse_json, read_text

#: Default numbers of items and of examples.
ITEMS, SHOTS = 30, 4
#: The examples are drawn from this many items at the end of a file.
_POOL = 32
_LETTERS = "ABCDEFGH"


@dataclass(frozen=True, slots=True)
class Item:
    """One question.

    Attributes:
        question: the text before the answer.
        options: the possible answers, at least two.
        label: index of the correct option.
    """

    question: str
    options: tuple[str, ...]
    label: int

    @property
    def answered(self) -> str:
        """The question with its correct answer, for use as an example."""
        return f"{self.question} {self.options[self.label]}"


@dataclass(frozen=True, slots=True)
class Task:
    """A task: its items and examples.

    Attributes:
        name: ``sst2``, ``mmlu`` …
        items: the items to answer.
        examples: answered items to put before every question, disjoint from ``items``.
    """

    name: str
    items: tuple[Item, ...]
    examples: tuple[Item, ...] = ()

    @property
    def title(self) -> str:
        """The display name."""
        return _FORMS[self.name].title if self.name in _FORMS else self.name

    def prompt(self, item: Item, shots: int | None = None) -> str:
        """Return the question after the first ``shots`` examples; None for all examples."""
        examples = [example.answered for example in self.examples[:shots]]
        return "\n\n".join([*examples, item.question])


@dataclass(frozen=True)
class _Form:
    """File format and question template of a task.

    Attributes:
        title: the display name.
        texts: names of the text fields.
        template: the question, with these fields and ``{choices}``.
        label: name of the field of the correct answer.
        options: the options in the order of their indices; empty if each item has its own.
        labels: index of the option by field value; None if letters and numbers of choices count.
        choices: name of the field of the choices, or "".
    """

    title: str
    texts: tuple[str, ...]
    template: str
    label: str = "label"
    options: tuple[str, ...] = ()
    labels: Mapping[str, int] | None = None
    choices: str = ""


_BINARY = {"0": 0, "1": 1}
_REVIEW = "Review: {sentence}\nIs this review positive or negative? Answer:"
_FOLLOWS = "Text: {sentence1}\nClaim: {sentence2}\nDoes the claim follow from the text? Answer:"

_FORMS: Mapping[str, _Form] = {
    "sst2": _Form(
        "SST-2", ("sentence",), _REVIEW, options=("negative", "positive"), labels=_BINARY
    ),
    "mrpc": _Form(
        "MRPC",
        ("sentence1", "sentence2"),
        "First: {sentence1}\nSecond: {sentence2}\nDo both sentences say the same? Answer:",
        options=("no", "yes"),
        labels=_BINARY,
    ),
    "cola": _Form(
        "CoLA",
        ("sentence",),
        "Sentence: {sentence}\nIs this sentence correct English? Answer:",
        options=("no", "yes"),
        labels=_BINARY,
    ),
    "rte": _Form(
        "RTE", ("sentence1", "sentence2"), _FOLLOWS, options=("yes", "no"), labels=_BINARY
    ),
    "nli": _Form(
        "NLI",
        ("sentence1", "sentence2"),
        _FOLLOWS,
        options=("yes", "no"),
        labels={"entailment": 0, "not_entailment": 1},
    ),
    "mmlu": _Form(
        "MMLU",
        ("question",),
        "Question: {question}\n{choices}\nAnswer:",
        label="answer",
        choices="choices",
    ),
    "sentiment_analysis": _Form(
        "sentiment", ("sentence",), _REVIEW, options=("negative", "positive"), labels=_BINARY
    ),
    "dialogue": _Form(
        "dialogue",
        ("article",),
        "Dialogue: {article}\nWhich of these comes next?\n{choices}\nAnswer:",
        label="answers",
        choices="options",
    ),
}

NAMES = tuple(_FORMS)
"""Names of the tasks and of their files, in display order."""


def read_tasks(
    place: str | Path | Sequence[str | Path],
    limit: int | None = ITEMS,
    shots: int = SHOTS,
    names: Sequence[str] | None = None,
    seed: int = 0,
) -> list[Task]:
    """Read tasks from JSON files named after them (``sst2.json``, ``mmlu.json``, …).

    The items come from the start of a file and the examples from its end, without overlap. The
    examples are balanced over the labels as far as possible, and their choice and order depend
    only on the seed.

    Args:
        place: a folder, whose other files are ignored; or files.
        limit: maximum number of items per task; None for all items except the examples.
        shots: number of examples before every question; 0 for none.
        names: names of the tasks to read; None for all in the folder.
        seed: seed of the choice of the examples.

    Returns:
        The tasks, in the order of ``NAMES``.

    Raises:
        InputError: if an argument, a file or an item is invalid; one line with file, item, field,
            value and remedy.
    """
    for option, value, minimum in (("limit", limit, 1), ("shots", shots, 0)):
        is_integer = isinstance(value, int) and not isinstance(value, bool)
        if value is not None and not (is_integer and value >= minimum):
            raise InputError(
                f"{option} {shown(value)} is not a number from {minimum}; give an integer >= "
                f"{minimum}"
            )
    files = _files(place)
    selected = NAMES if names is None else names
    for name in selected:
        if name not in _FORMS:
            raise InputError(f'task "{name}" is not known; possible are {", ".join(NAMES)}')
        if names is not None and name not in files:
            raise InputError(
                f'task "{name}": there is no {name}.json among {_listed(files)}; leave the task out'
            )
    return [
        _task(name, files[name], limit, shots, seed)
        for name in NAMES
        if name in selected and name in files
    ]


def _files(place: str | Path | Sequence[str | Path]) -> dict[str, Path]:
    """Return the files by the name of their task."""
    if not isinstance(place, str | Path):
        files = [Path(path).expanduser() for path in place]
        for file in files:
            if file.stem.lower() not in _FORMS:
                raise InputError(
                    f"{file}: no task has this name; name the file after one of {', '.join(NAMES)}"
                )
        by_task = {file.stem.lower(): file for file in files}
        if len(by_task) < len(files):
            raise InputError(f"{_listed(by_task)}: a task is named twice; give each file once")
        if not by_task:
            raise InputError("no file of a task is given; give a folder, or files")
        return by_task
    folder = Path(place).expanduser()
    if not folder.is_dir():
        if folder.is_file():
            return _files([folder])
        raise InputError(
            f"{folder}: there is no such folder; give one with files such as sst2.json"
        )
    by_task = {
        file.stem.lower(): file
        for file in sorted(folder.iterdir())
        if file.suffix.lower() == ".json" and file.stem.lower() in _FORMS
    }
    if not by_task:
        raise InputError(
            f"{folder}: holds no task; add files with names such as "
            f"{', '.join(f'{name}.json' for name in NAMES)}"
        )
    return by_task


def _listed(files: Mapping[str, Path]) -> str:
    return ", ".join(str(file) for file in files.values())


def _task(name: str, file: Path, limit: int | None, shots: int, seed: int) -> Task:
    form = _FORMS[name]
    try:
        items = [_item(form, number, record) for number, record in enumerate(_records(file), 1)]
        if len(items) <= shots:
            raise InputError(
                f"has {len(items)} items, too few for {shots} examples and a question; add items, "
                "or give fewer examples"
            )
    except InputError as error:
        raise InputError(f"{file}: {error}") from None
    first = items[: min(len(items) - shots, len(items) if limit is None else limit)]
    questions = {item.question for item in first}
    rest = [item for item in items[len(first) :] if item.question not in questions]
    return Task(name, tuple(first), _examples(rest[-_POOL:], shots, f"{seed} {name}"))


def _examples(pool: Sequence[Item], shots: int, seed: str) -> tuple[Item, ...]:
    """Draw examples from each label in turn, and shuffle them."""
    generator = random.Random(seed)
    by_label: dict[int, list[Item]] = {}
    for item in generator.sample(pool, len(pool)):
        by_label.setdefault(item.label, []).append(item)
    labels = generator.sample(sorted(by_label), len(by_label))
    chosen: list[Item] = []
    while len(chosen) < min(shots, len(pool)):
        for label in labels:
            if by_label[label] and len(chosen) < shots:
                chosen.append(by_label[label].pop())
    return tuple(generator.sample(chosen, len(chosen)))


def _records(file: Path) -> list[Any]:
    """Return the list in a file."""
    try:
        content = parse_json(read_text(file, "utf-8-sig"))
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror}); give a JSON file") from None
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8 at byte {error.start}; save the file in UTF-8") from None
    except JSONDecodeError as error:
        raise InputError(
            f"not valid JSON at line {error.lineno}, column {error.colno} ({error.msg}); correct "
            "it there"
        ) from None
    if not isinstance(content, list):
        raise InputError(f"the file holds {kind(content)}; write a list of items: [{{...}}]")
    return content


def _item(form: _Form, number: int, record: object) -> Item:
    where = f"item {number}"
    if not isinstance(record, Mapping):
        raise InputError(f"{where}: {shown(record)} is {kind(record)}; an item is an object")
    required = [*form.texts, *filter(None, [form.choices]), form.label]
    for name in required:
        if name not in record:
            raise InputError(f'{where}: field "{name}" is missing; add it')
    texts = {name: _text(f"{where}: {name}", record[name]) for name in form.texts}
    if not form.choices:
        assert form.labels is not None
        label = _label(f"{where}: {form.label}", record[form.label], form.labels)
        return Item(form.template.format(**texts), form.options, label)
    choices = _choices(f"{where}: {form.choices}", record[form.choices])
    letters = tuple(_LETTERS[: len(choices)])
    labels = {letter: n for n, letter in enumerate(letters)}
    labels |= {str(n): n for n in range(len(letters))}
    label = _label(f"{where}: {form.label}", record[form.label], labels)
    lines = [f"{letter}. {text}" for letter, text in zip(letters, choices, strict=True)]
    return Item(form.template.format(**texts, choices="\n".join(lines)), letters, label)


def _text(where: str, value: object) -> str:
    if not isinstance(value, str):
        raise InputError(f"{where} {shown(value)} is {kind(value)}; give a text")
    if not value.strip():
        raise InputError(f"{where} {shown(value)} is blank; give a text")
    return value.strip()


def _choices(where: str, value: object) -> list[str]:
    limit = len(_LETTERS)
    if not isinstance(value, list) or not 2 <= len(value) <= limit:
        raise InputError(f"{where} {shown(value)} is not a list of 2 to {limit} texts; give one")
    return [_text(f"{where} {key}:", text) for key, text in zip(_LETTERS, value, strict=False)]


def _label(where: str, value: object, labels: Mapping[str, int]) -> int:
    is_text_or_integer = isinstance(value, str | int) and not isinstance(value, bool)
    label = labels.get(str(value).strip()) if is_text_or_integer else None
    if label is None:
        hint = " (a file without answers has -1)" if str(value).strip() == "-1" else ""
        raise InputError(f"{where} {shown(value)} is not known{hint}; write {', '.join(labels)}")
    return label
