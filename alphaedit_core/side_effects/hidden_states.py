"""Hidden states of unrelated prompts before and after edits.

The output of the last edited block at each prompt's last token is compared, as in Fang et al. 2025,
who show with t-SNE that AlphaEdit preserves the distribution. Here the states are projected onto
the two principal components of the unedited states. The projection is linear, so distances in the
figure are distances in the model, and deterministic. Shifts orthogonal to the two components appear
in the numbers only.
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

#: Default number of prompts, and the maximum number of tokens per prompt.
PROMPTS, TOKENS = 200, 64
#: Minimum number of words of a sentence to be used as a prompt.
_MIN_WORDS = 4
#: Tokens per forward pass.
_TOKENS_PER_PASS = 2048
_SENTENCE_ENDS = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])|\n+")
_CLOSING = " \t.!?。！？…,;:\"'”’)]"

DEFINITIONS: Mapping[str, str] = {
    "mean shift": "‖mean h' − mean h‖ / mean ‖h‖: distance between the means of all states, as a "
    "share of their mean norm, %; lower is better",
    "shift of a prompt": "mean of ‖h' − h‖ / ‖h‖, %; lower is better",
    "cosine": "mean of cos(h, h'); 1 is no change",
    "in the figure": "share of the unedited states' variance along each of the two principal "
    "components, %",
}
"""Metric definitions: h is the state of a prompt in the unedited model, h' in the edited one."""


@dataclass(frozen=True, kw_only=True)
class HiddenDrift:
    """Difference between the hidden states of prompts in an edited and the unedited model.

    Attributes:
        number: number of edits in the edited model.
        layer: index of the block whose output is compared.
        prompts: the prompts.
        mean_shift: distance between the two means, as a share of the mean norm of the unedited
            states.
        prompt_shift: mean over the prompts of the distance between the two states, as a share of
            the norm of the unedited one.
        cosine: mean over the prompts of the cosine between the two states.
        before: coordinates of each unedited state along the first two principal components of
            the unedited states, relative to their mean.
        after: coordinates of each edited state, with the same components and mean.
        explained: share of the unedited states' variance along each component.
        moved: distance between the two states of each prompt, as a share of the norm of the
            unedited one; ``prompt_shift`` is the mean.
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
        """Return the prompts whose states moved most, with their shifts in percent."""
        order = sorted(range(len(self.moved)), key=lambda i: -self.moved[i])
        return [(self.prompts[i], f"{self.moved[i]:.2%}") for i in order[:count]]

    def rows(self) -> list[tuple[str, str]]:
        """Return (name, value) of each number, by the names in ``DEFINITIONS``."""
        return [
            ("mean shift", f"{self.mean_shift:.2%}"),
            ("shift of a prompt", f"{self.prompt_shift:.2%}"),
            ("cosine", f"{self.cosine:.4f}"),
            ("in the figure", " and ".join(f"{share:.1%}" for share in self.explained)),
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as JSON-serializable values."""
        fields = asdict(self)
        return fields | {
            name: [list(point) for point in fields[name]] for name in ("before", "after")
        } | {name: list(fields[name]) for name in ("prompts", "explained", "moved")}  # fmt: skip

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
        """Return a figure of both states of every prompt as HTML, with an equivalent text."""
        return hidden_drift_html(
            self.before,
            self.after,
            explained=self.explained,
            layer=self.layer,
            number=self.number,
            shifts=f"Mean shift {self.mean_shift:.2%} of their mean norm, average shift of a "
            f"prompt {self.prompt_shift:.2%}, mean cosine {self.cosine:.4f}.",
        )

    def _repr_html_(self) -> str:
        rows = [(name, value, DEFINITIONS[name]) for name, value in self.rows()]
        table = html_table(("number", "value", "definition"), rows)
        most = html_table(("moved most", "by"), self.most_moved())
        return self.figure() + table + most


def hidden_drift(
    session: EditSession,
    number: int,
    prompts: Sequence[str] | None = None,
    monitor: Monitor | None = None,
) -> HiddenDrift:
    """Compare hidden states after a number of edits with those of the unedited model.

    The weights are restored afterwards.

    Args:
        session: the session.
        number: number of edits, including undone ones; 0 is the unedited model.
        prompts: at least three prompts; None for :func:`unrelated_prompts`.
        monitor: receives progress.

    Raises:
        SessionError: if there are fewer edits, or another thread uses the model.
        InputError: if the prompts cannot be used.
        Canceled: if canceled.
    """
    monitor, edits = monitor or Monitor(), len(session.history)
    state = as_integer(number)
    if state is None or not 0 <= state <= edits:
        raise SessionError(f"there is no state {number}; give 0 to {edits}")
    number = state
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
    """Compute the shifts and the projection of two sets of hidden states; needs no model.

    Args:
        before: states in the unedited model, (prompts, hidden_size), at least three rows.
        after: states of the same prompts in the edited model, (prompts, hidden_size).
        number: see :class:`HiddenDrift`.
        layer: see :class:`HiddenDrift`.
        prompts: see :class:`HiddenDrift`.
    """
    before, after = before.double().cpu(), after.double().cpu()
    norms, distances = before.norm(dim=1), (after - before).norm(dim=1)
    center = before.mean(dim=0)
    # The rows of ``components`` are the principal components, by descending variance.
    _, singular_values, components = torch.linalg.svd(before - center, full_matrices=False)
    axes = components[:2]
    # The SVD leaves the sign open; make the entry of largest magnitude positive.
    largest = axes.gather(1, axes.abs().argmax(dim=1, keepdim=True))
    axes = axes * largest.sign()
    variance = singular_values.square()
    shares = (variance[:2] / variance.sum()).tolist() if float(variance.sum()) else [0.0, 0.0]
    return HiddenDrift(
        number=number,
        layer=layer,
        prompts=tuple(prompts),
        mean_shift=float((after.mean(dim=0) - center).norm() / norms.mean()),
        prompt_shift=float((distances / norms).mean()),
        cosine=float(torch.nn.functional.cosine_similarity(before, after, dim=1).mean()),
        before=_points((before - center) @ axes.T),
        after=_points((after - center) @ axes.T),
        explained=(shares[0], shares[1]),
        moved=tuple((distances / norms).tolist()),
    )


def unrelated_prompts(
    session: EditSession,
    count: int = PROMPTS,
    probe: str | PathLike[str] | TextSource | None = None,
    monitor: Monitor | None = None,
) -> list[str]:
    """Return sentences of a text that contain no subject of the session's edits.

    Subjects of undone edits are excluded, too.

    Args:
        session: the session.
        count: maximum number of sentences.
        probe: text, as accepted by :func:`~.sources.open_text`; None for
            :func:`~.drift.default_probe`.
        monitor: receives the progress of a download.

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
    """Return the first sentence of each document of a text, then the second ones, and so on.

    Closing punctuation is removed so that the last token belongs to a word. Sentences that contain
    a subject are left out.

    Args:
        subjects: subjects to exclude.
        model: model whose tokenizer and samples the text may need.
        probe: text, as accepted by :func:`~.sources.open_text`.
        count: maximum number of sentences.
        monitor: receives the progress of a download.

    Raises:
        InputError: if the text has fewer than three such sentences.
    """
    source = open_text(probe, model, monitor)
    # Match whole words only, else "It" would exclude half of all sentences. Other scripts than
    # Latin may not separate words by spaces.
    patterns = [
        re.compile(rf"(?<![A-Za-z0-9]){re.escape(subject)}(?![A-Za-z0-9])", re.IGNORECASE)
        for subject in dict.fromkeys(subjects)
    ]

    def related(sentence: str) -> bool:
        return any(pattern.search(sentence) for pattern in patterns)

    by_document = [
        islice(_sentences(document), count) for document in islice(source.documents(), count)
    ]
    interleaved = chain.from_iterable(zip_longest(*by_document))
    unrelated = (text for text in interleaved if text is not None and not related(text))
    sentences = list(islice(_distinct(unrelated), count))
    if len(sentences) < 3:
        raise InputError(
            f'text "{source.name}" has {len(sentences)} sentences without a subject of the edits; '
            "give a longer text to measure hidden states on"
        )
    return sentences


@torch.no_grad()
def end_states(
    model: EditableModel, prompts: Sequence[str], layer: int, monitor: Monitor
) -> Tensor:
    """Return the output of a block at the last token of each prompt.

    Args:
        model: the model.
        prompts: the prompts; each is cut after ``TOKENS`` tokens.
        layer: index of the block.
        monitor: advanced by each prompt.

    Returns:
        (prompts, hidden_size), float32, on the CPU.
    """
    rows = [encode(model.tokenizer, prompt)[0][:TOKENS] for prompt in prompts]
    states = torch.empty(len(rows), model.architecture.hidden_size)
    for group in by_length([len(row) for row in rows], _TOKENS_PER_PASS):
        padded = pad_rows([rows[i] for i in group], model.device)
        hidden = record(model, padded, layer + 1, layer + 1).entry
        last = [len(rows[i]) - 1 for i in group]
        states[group] = hidden[list(range(len(group))), last].float().cpu()
        monitor.advance(len(group))
    return states


def _checked(prompts: Sequence[str]) -> list[str]:
    if isinstance(prompts, str):
        raise InputError(f"the prompts {shown(prompts)} are one text; give a list of texts")
    for number, prompt in enumerate(prompts, 1):
        if not isinstance(prompt, str) or not prompt.strip():
            problem = "blank" if isinstance(prompt, str) else kind(prompt)
            raise InputError(f"prompt {number} {shown(prompt)} is {problem}; give a text")
    if len(prompts) < 3:
        raise InputError(f"{len(prompts)} prompts are too few; give at least 3")
    return list(prompts)


def _sentences(document: str) -> Iterator[str]:
    """Yield the sentences of at least ``_MIN_WORDS`` words, without closing punctuation."""
    for piece in _SENTENCE_ENDS.split(document):
        sentence = " ".join(piece.split()).rstrip(_CLOSING)
        if len(sentence.split()) >= _MIN_WORDS:
            yield sentence


def _distinct(texts: Iterator[str]) -> Iterator[str]:
    seen: set[str] = set()
    for text in texts:
        if text not in seen:
            seen.add(text)
            yield text


def _points(rows: Tensor) -> tuple[Point, ...]:
    return tuple((float(x), float(y)) for x, y in rows.tolist())
