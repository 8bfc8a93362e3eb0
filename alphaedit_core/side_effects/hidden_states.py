"""Hidden states of prompts that no edit is about, before and after: has their distribution moved?

What is compared is the output of the last edited block at a prompt's last token, the picture by
which Fang et al. 2025 show that AlphaEdit leaves the distribution where it was. They draw it by
t-SNE. Here it is a projection on the two principal components of the unedited states: linear, so
that distances on the page are distances in the model, and the same at every run. Both states are
projected with the same components; what moves across them is in the numbers only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain, islice, zip_longest
from os import PathLike
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from alphaedit_core.corpora.sources import TextSource, open_text
from alphaedit_core.display.data_frames import data_frame
from alphaedit_core.display.tables import html_table, text_table
from alphaedit_core.errors import InputError, SessionError
from alphaedit_core.integers import as_integer
from alphaedit_core.messages import kind, shown
from alphaedit_core.model.editable_model import EditableModel
from alphaedit_core.model.forward import by_length, pad_rows, record
from alphaedit_core.model.tokenization import encode
from alphaedit_core.progress import Monitor
from alphaedit_core.session.session import EditSession

from .drift import default_probe
from .hidden_states_figure import Point, hidden_drift_html

if TYPE_CHECKING:
    import pandas

#: Prompts that are read where none are given, and tokens of each at most.
PROMPTS, TOKENS = 200, 64
#: Words that a sentence needs to be one of them.
_LEAST_WORDS = 4
#: Tokens that go through the model together.
_AT_ONCE = 2048
_SENTENCE_ENDS = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])|\n+")
_CLOSING = " \t.!?。！？…,;:\"'”’)]"

DEFINITIONS: Mapping[str, str] = {
    "mean shift": "‖mean h' − mean h‖ / mean ‖h‖: how far the center of all states has moved, as a "
    "share of their mean length, %; lower is better",
    "shift of a prompt": "mean of ‖h' − h‖ / ‖h‖, %; lower is better",
    "cosine": "mean of cos(h, h'); 1 is unmoved",
    "in the picture": "share of the unedited states' variance that lies along each of the two "
    "directions that are drawn, %",
}
"""Metric definitions: h is the state of a prompt in the unedited model, h' in the edited one."""


@dataclass(frozen=True)
class HiddenDrift:
    """How the hidden states of some prompts in one state of a session differ from the unedited.

    Attributes:
        number: edits that are in the model in this state.
        layer: the block whose output is read.
        prompts: the prompts.
        mean_shift: distance of the two means, as a share of the mean norm of the unedited states.
        prompt_shift: mean over the prompts of the distance of the two states, as a share of the
            norm of the unedited one.
        cosine: mean over the prompts of the cosine of the two.
        before, after: both states of each prompt along the two principal components of the
            unedited states, from their mean.
        explained: share of the unedited states' variance along each component.
        moved: for each prompt the distance of its two states, as a share of the unedited one's
            norm; ``prompt_shift`` is their mean.
    """

    number: int
    layer: int
    prompts: tuple[str, ...]
    mean_shift: float
    prompt_shift: float
    cosine: float
    before: tuple[Point, ...]
    after: tuple[Point, ...]
    explained: tuple[float, float]
    moved: tuple[float, ...]

    def most_moved(self, count: int = 5) -> list[tuple[str, str]]:
        """The prompts whose states have moved most, and by how much."""
        places = sorted(range(len(self.moved)), key=lambda i: -self.moved[i])
        return [(self.prompts[i], f"{self.moved[i]:.2%}") for i in places[:count]]

    def rows(self) -> list[tuple[str, str]]:
        """The numbers, by their names in ``DEFINITIONS``."""
        return [
            ("mean shift", f"{self.mean_shift:.2%}"),
            ("shift of a prompt", f"{self.prompt_shift:.2%}"),
            ("cosine", f"{self.cosine:.4f}"),
            ("in the picture", " and ".join(f"{share:.1%}" for share in self.explained)),
        ]

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        told = asdict(self)
        return told | {
            name: [list(point) for point in told[name]] for name in ("before", "after")
        } | {name: list(told[name]) for name in ("prompts", "explained", "moved")}  # fmt: skip

    def to_pandas(self) -> pandas.DataFrame:
        """Return a data frame with one row per prompt.

        Columns:

        - ``state``: number of edits in the model; ``layer``: the block whose output is read.
        - ``prompt``.
        - ``shift``: distance of the prompt's two hidden states, as a share of the norm of the
          unedited one.
        - ``pc1_before``, ``pc2_before``, ``pc1_after``, ``pc2_after``: both hidden states along the
          two principal components of the unedited ones.

        Raises:
            InputError: if pandas is not installed.
        """
        columns = {
            "state": int, "layer": int, "prompt": str, "shift": float, "pc1_before": float,
            "pc2_before": float, "pc1_after": float, "pc2_after": float,
        }  # fmt: skip
        parts = zip(self.prompts, self.moved, self.before, self.after, strict=True)
        rows = [
            (self.number, self.layer, prompt, shift, *before, *after)
            for prompt, shift, before, after in parts
        ]
        return data_frame(columns, rows)

    def __repr__(self) -> str:
        title = (
            f"HiddenDrift: {len(self.prompts)} prompts, output of block {self.layer} after edit "
            f"{self.number} against the unedited model"
        )
        return f"{title}\n{text_table(('number', 'value'), self.rows())}"

    def figure(self) -> str:
        """Both states of every prompt as a picture, with a text that says the same."""
        return hidden_drift_html(
            self.before,
            self.after,
            explained=self.explained,
            layer=self.layer,
            number=self.number,
            shifts=f"Their mean has moved by {self.mean_shift:.2%} of their mean length, each "
            f"prompt's by {self.prompt_shift:.2%} on average; mean cosine {self.cosine:.4f}.",
        )

    def _repr_html_(self) -> str:
        rows = [(name, value, DEFINITIONS[name]) for name, value in self.rows()]
        table = html_table(("number", "value", "what it is"), rows)
        most = html_table(("moved most", "by"), self.most_moved())
        return self.figure() + table + most


def hidden_drift(
    session: EditSession,
    number: int,
    prompts: Sequence[str] | None = None,
    monitor: Monitor | None = None,
) -> HiddenDrift:
    """Compare hidden states in one state of a session with the unedited; weights are put back.

    Args:
        session: the session.
        number: the state after so many edits, undone ones too; 0 is the unedited model.
        prompts: at least three; None for :func:`unrelated_prompts`.
        monitor: what to report to.

    Raises:
        SessionError: if there are not so many edits, or another thread uses the model.
        InputError: if the prompts cannot be used.
        Canceled: if canceled.
    """
    monitor, edits = monitor or Monitor(), len(session.history)
    whole = as_integer(number)
    if whole is None or not 0 <= whole <= edits:
        raise SessionError(f"there is no state {number}; give 0 to {edits}")
    number = whole
    texts = unrelated_prompts(session, monitor=monitor) if prompts is None else _checked(prompts)
    layer, model = session.hyperparameters.layers[-1], session.model
    total = 2 * len(texts) if number else len(texts)
    with model.exclusive(), monitor.stage("hidden states", total, "prompt"):
        with session.at_state(0):
            before = after = end_states(model, texts, layer, monitor)
        if number:
            with session.at_state(number):
                after = end_states(model, texts, layer, monitor)
    return compare_states(before, after, number, layer, texts)


def compare_states(
    before: Tensor, after: Tensor, number: int, layer: int, prompts: Sequence[str]
) -> HiddenDrift:
    """The numbers and the projection; needs no model.

    Args:
        before: (prompts, hidden_size), at least three rows.
        after: the same prompts in another state of the model.
        number: see :class:`HiddenDrift`.
        layer: see :class:`HiddenDrift`.
        prompts: see :class:`HiddenDrift`.
    """
    before, after = before.double().cpu(), after.double().cpu()
    norms, distances = before.norm(dim=1), (after - before).norm(dim=1)
    center = before.mean(dim=0)
    # Rows of the last factor are the principal components, the one with most variance first.
    _, lengths, components = torch.linalg.svd(before - center, full_matrices=False)
    axes = components[:2]
    # Their sign is any; here the entry of largest size is above zero.
    largest = axes.gather(1, axes.abs().argmax(dim=1, keepdim=True))
    axes = axes * largest.sign()
    variance = lengths.square()
    shares = (variance[:2] / variance.sum()).tolist() if float(variance.sum()) else [0.0, 0.0]
    return HiddenDrift(
        number,
        layer,
        tuple(prompts),
        float((after.mean(dim=0) - center).norm() / norms.mean()),
        float((distances / norms).mean()),
        float(torch.nn.functional.cosine_similarity(before, after, dim=1).mean()),
        _points((before - center) @ axes.T),
        _points((after - center) @ axes.T),
        (shares[0], shares[1]),
        tuple((distances / norms).tolist()),
    )


def unrelated_prompts(
    session: EditSession,
    count: int = PROMPTS,
    probe: str | PathLike[str] | TextSource | None = None,
    monitor: Monitor | None = None,
) -> list[str]:
    """Sentences of a text that none of a session's edits, undone ones too, is about.

    Args:
        session: the session.
        count: prompts at most.
        probe: the text, as :func:`~.sources.open_text` takes it; None for
            :func:`~.drift.default_probe`, which drift is measured on.
        monitor: told about the fetching of the packaged text.

    Raises:
        InputError: see :func:`sentences_without`.
    """
    spec = default_probe(session.hyperparameters.text) if probe is None else probe
    subjects = (fact.subject for entry in session.history for fact in entry.facts)
    return sentences_without(subjects, session.model, spec, count, monitor)


def sentences_without(
    subjects: Iterable[str],
    model: EditableModel,
    probe: str | PathLike[str] | TextSource,
    count: int = PROMPTS,
    monitor: Monitor | None = None,
) -> list[str]:
    """The first sentence of each document of a text, then the second ones, and so on.

    Without the closing full stop, so that what is read is the state of a word; without sentences
    in which one of the subjects stands.

    Raises:
        InputError: if the text has fewer than three such sentences.
    """
    source = open_text(probe, model, monitor)
    # As words of their own, else "It" would rule out half of all sentences. What is not Latin has
    # no spaces to tell words by.
    unwanted = [
        re.compile(rf"(?<![A-Za-z0-9]){re.escape(subject)}(?![A-Za-z0-9])", re.IGNORECASE)
        for subject in dict.fromkeys(subjects)
    ]

    def related(sentence: str) -> bool:
        return any(subject.search(sentence) for subject in unwanted)

    by_document = [
        islice(_sentences(document), count) for document in islice(source.documents(), count)
    ]
    in_turn = chain.from_iterable(zip_longest(*by_document))
    fitting = (one for one in in_turn if one is not None and not related(one))
    found = list(islice(_distinct(fitting), count))
    if len(found) < 3:
        raise InputError(
            f'text "{source.name}" has {len(found)} sentences without a subject of the edits; give '
            "a longer one to read hidden states on"
        )
    return found


@torch.no_grad()
def end_states(
    model: EditableModel, prompts: Sequence[str], layer: int, monitor: Monitor
) -> Tensor:
    """Output of a block at the last token of each prompt: (prompts, hidden_size), float32."""
    rows = [encode(model.tokenizer, prompt)[0][:TOKENS] for prompt in prompts]
    found = torch.empty(len(rows), model.architecture.hidden_size)
    for group in by_length([len(row) for row in rows], _AT_ONCE):
        padded = pad_rows([rows[i] for i in group], model.device)
        hidden = record(model, padded, layer + 1, layer + 1).entry
        last = [len(rows[i]) - 1 for i in group]
        found[group] = hidden[list(range(len(group))), last].float().cpu()
        monitor.advance(len(group))
    return found


def _checked(prompts: Sequence[str]) -> list[str]:
    if isinstance(prompts, str):
        raise InputError(f"the prompts {shown(prompts)} are one text; give a list of texts")
    for place, prompt in enumerate(prompts, 1):
        if not isinstance(prompt, str) or not prompt.strip():
            what = "blank" if isinstance(prompt, str) else kind(prompt)
            raise InputError(f"prompt {place} {shown(prompt)} is {what}; give a text")
    if len(prompts) < 3:
        raise InputError(f"{len(prompts)} prompts have no distribution; give at least 3")
    return list(prompts)


def _sentences(document: str) -> Iterator[str]:
    """The sentences of a text that have some words, without what closes them."""
    for piece in _SENTENCE_ENDS.split(document):
        sentence = " ".join(piece.split()).rstrip(_CLOSING)
        if len(sentence.split()) >= _LEAST_WORDS:
            yield sentence


def _distinct(texts: Iterator[str]) -> Iterator[str]:
    seen: set[str] = set()
    for text in texts:
        if text not in seen:
            seen.add(text)
            yield text


def _points(rows: Tensor) -> tuple[Point, ...]:
    return tuple((float(x), float(y)) for x, y in rows.tolist())
