"""General ability tasks: their files, and each item put as a question with a few answers.

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

Labels may be numbers or texts. The questions are our own, in plain words. In RTE, 1 says that the
second sentence does *not* follow, as GLUE has it.
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

#: Items that are asked and examples that are given, unless others are wanted.
ITEMS, SHOTS = 30, 4
#: Examples are chosen among so many items at the end of a file.
_POOL = 32
_LETTERS = "ABCDEFGH"


@dataclass(frozen=True, slots=True)
class Item:
    """One question.

    Attributes:
        question: the text after which the answer follows.
        options: the answers that are possible, at least two.
        label: index of the right one.
    """

    question: str
    options: tuple[str, ...]
    label: int

    @property
    def answered(self) -> str:
        """The question with its right answer, as an example has it."""
        return f"{self.question} {self.options[self.label]}"


@dataclass(frozen=True, slots=True)
class Task:
    """Questions of one kind.

    Attributes:
        name: ``sst2``, ``mmlu`` …
        items: those that are asked.
        examples: what stands before every question, answered; none of them is asked.
    """

    name: str
    items: tuple[Item, ...]
    examples: tuple[Item, ...] = ()

    @property
    def title(self) -> str:
        """The name for people."""
        return _FORMS[self.name].title if self.name in _FORMS else self.name

    def prompt(self, item: Item, shots: int | None = None) -> str:
        """A question with the first so many examples before it; None for all."""
        given = [example.answered for example in self.examples[:shots]]
        return "\n\n".join([*given, item.question])


@dataclass(frozen=True)
class _Form:
    """How the items of a task are written, and how they are asked.

    Attributes:
        title: the name for people.
        texts: fields that are texts.
        template: the question, with these fields and ``{choices}``.
        label: field of the right answer.
        options: the answers in the order of their labels; none where each item has its own.
        labels: what may stand in the field, by text; letters and numbers where there are choices.
        choices: field of the choices, or "".
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
"""Names of the tasks, which are those of their files, in the order in which they are shown."""


def read_tasks(
    place: str | Path | Sequence[str | Path],
    limit: int | None = ITEMS,
    shots: int = SHOTS,
    names: Sequence[str] | None = None,
    seed: int = 0,
) -> list[Task]:
    """Read tasks from JSON files named after them (``sst2.json``, ``mmlu.json``, …).

    The first items are asked. The examples are taken from the end of the same file, never one that
    is asked, as many of each label as of any other where there are enough, in an order that depends
    on the seed alone.

    Args:
        place: a folder, of which other files are left alone; or files.
        limit: items of each task that are asked at most; None for all but those of the examples.
        shots: examples before every question; 0 for none.
        names: tasks that are wanted; None for all that are there.
        seed: of the choice of the examples.

    Returns:
        The tasks, in the order of ``NAMES``.

    Raises:
        InputError: one line with file, item, field, value and remedy.
    """
    for what, value, least in (("limit", limit, 1), ("shots", shots, 0)):
        whole = isinstance(value, int) and not isinstance(value, bool)
        if value is not None and not (whole and value >= least):
            raise InputError(f"{what} {shown(value)} is not a number from {least}; give such a one")
    files = _files(place)
    wanted = NAMES if names is None else names
    for name in wanted:
        if name not in _FORMS:
            raise InputError(f'task "{name}" is not known; possible are {", ".join(NAMES)}')
        if names is not None and name not in files:
            raise InputError(
                f'task "{name}": there is no {name}.json among {_listed(files)}; leave the task out'
            )
    return [
        _task(name, files[name], limit, shots, seed)
        for name in NAMES
        if name in wanted and name in files
    ]


def _files(place: str | Path | Sequence[str | Path]) -> dict[str, Path]:
    """Files by the name of their task."""
    if not isinstance(place, str | Path):
        files = [Path(one).expanduser() for one in place]
        for file in files:
            if file.stem.lower() not in _FORMS:
                raise InputError(
                    f"{file}: no task has this name; name the file after one of {', '.join(NAMES)}"
                )
        found = {file.stem.lower(): file for file in files}
        if len(found) < len(files):
            raise InputError(f"{_listed(found)}: a task is named twice; give each file once")
        if not found:
            raise InputError("no file of a task is given; give a folder, or files")
        return found
    folder = Path(place).expanduser()
    if not folder.is_dir():
        if folder.is_file():
            return _files([folder])
        raise InputError(
            f"{folder}: there is no such folder; give one with files such as sst2.json"
        )
    found = {
        file.stem.lower(): file
        for file in sorted(folder.iterdir())
        if file.suffix.lower() == ".json" and file.stem.lower() in _FORMS
    }
    if not found:
        raise InputError(
            f"{folder}: holds no task; put files into it that are named after "
            f"{', '.join(f'{name}.json' for name in NAMES)}"
        )
    return found


def _listed(files: Mapping[str, Path]) -> str:
    return ", ".join(str(file) for file in files.values())


def _task(name: str, file: Path, limit: int | None, shots: int, seed: int) -> Task:
    form = _FORMS[name]
    try:
        items = [_item(form, number, one) for number, one in enumerate(_records(file), 1)]
        if len(items) <= shots:
            raise InputError(
                f"has {len(items)} items, too few for {shots} examples and a question; add items, "
                "or give fewer examples"
            )
    except InputError as error:
        raise InputError(f"{file}: {error}") from None
    asked = items[: min(len(items) - shots, len(items) if limit is None else limit)]
    questions = {item.question for item in asked}
    rest = [item for item in items[len(asked) :] if item.question not in questions]
    return Task(name, tuple(asked), _examples(rest[-_POOL:], shots, f"{seed} {name}"))


def _examples(pool: Sequence[Item], shots: int, seed: str) -> tuple[Item, ...]:
    """So many of the pool, drawn from each label in turn, in an order that says nothing."""
    draw = random.Random(seed)
    by_label: dict[int, list[Item]] = {}
    for item in draw.sample(pool, len(pool)):
        by_label.setdefault(item.label, []).append(item)
    labels = draw.sample(sorted(by_label), len(by_label))
    chosen: list[Item] = []
    while len(chosen) < min(shots, len(pool)):
        for label in labels:
            if by_label[label] and len(chosen) < shots:
                chosen.append(by_label[label].pop())
    return tuple(draw.sample(chosen, len(chosen)))


def _records(file: Path) -> list[Any]:
    """The list that a file holds."""
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
    needed = [*form.texts, *filter(None, [form.choices]), form.label]
    for name in needed:
        if name not in record:
            raise InputError(f'{where}: field "{name}" is missing; add it')
    texts = {name: _text(f"{where}: {name}", record[name]) for name in form.texts}
    if not form.choices:
        assert form.labels is not None
        label = _label(f"{where}: {form.label}", record[form.label], form.labels)
        return Item(form.template.format(**texts), form.options, label)
    choices = _choices(f"{where}: {form.choices}", record[form.choices])
    letters = tuple(_LETTERS[: len(choices)])
    known = {letter: n for n, letter in enumerate(letters)}
    known |= {str(n): n for n in range(len(letters))}
    label = _label(f"{where}: {form.label}", record[form.label], known)
    lines = [f"{letter}. {text}" for letter, text in zip(letters, choices, strict=True)]
    return Item(form.template.format(**texts, choices="\n".join(lines)), letters, label)


def _text(where: str, value: object) -> str:
    if not isinstance(value, str):
        raise InputError(f"{where} {shown(value)} is {kind(value)}; give a text")
    if not value.strip():
        raise InputError(f"{where} {shown(value)} is blank; give a text")
    return value.strip()


def _choices(where: str, value: object) -> list[str]:
    most = len(_LETTERS)
    if not isinstance(value, list) or not 2 <= len(value) <= most:
        raise InputError(f"{where} {shown(value)} is no list of 2 to {most} texts; give one")
    return [_text(f"{where} {letter}:", one) for letter, one in zip(_LETTERS, value, strict=False)]


def _label(where: str, value: object, known: Mapping[str, int]) -> int:
    plain = isinstance(value, str | int) and not isinstance(value, bool)
    found = known.get(str(value).strip()) if plain else None
    if found is None:
        hint = " (a file without answers has -1)" if str(value).strip() == "-1" else ""
        raise InputError(f"{where} {shown(value)} is not known{hint}; write {', '.join(known)}")
    return found
