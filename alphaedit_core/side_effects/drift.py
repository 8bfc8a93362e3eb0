"""Drift: how far edits have moved a model away from the unedited one, in a few numbers.

All numbers compare a state of a session with its state 0: how much the weights moved, how much
otherwise the model reads a fixed piece of ordinary text, whether the neighbors of the edited facts
are still answered alike, and how much of the update lies outside the null space. Nothing of it
needs a second copy of the model: of the unedited one the outputs of the last block are kept (no
edit touches what follows it), from which its logits are had again piece by piece.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from alphaedit_core.corpora.sources import TextSource, open_text
from alphaedit_core.covariance.collect import pack, window_length
from alphaedit_core.display.data_frames import data_frame
from alphaedit_core.editing.layer_write import relative
from alphaedit_core.editing.weight_updates import WeightUpdate, projected, total_change
from alphaedit_core.errors import FetchError, InputError, SessionError
from alphaedit_core.inference.completions import check_room
from alphaedit_core.model.editable_model import EditableModel
from alphaedit_core.model.forward import by_length, pad_rows, record
from alphaedit_core.model.tokenization import encode
from alphaedit_core.nullspace.spectrum import Spectrum
from alphaedit_core.nullspace.thresholds import Threshold
from alphaedit_core.progress import Monitor
from alphaedit_core.session.edits import Edit
from alphaedit_core.session.session import EditSession

from .text_divergence import compare_outputs, last_block_outputs

if TYPE_CHECKING:
    import pandas

#: The text that drift is measured on unless another is given: set aside from all statistics.
PROBE = "wikipedia-sample:probe"
#: Windows that are read of it, from the first, and their length in tokens (shorter where a model
#: takes fewer). Other windows give other numbers, so these are the same for every model.
WINDOWS, WINDOW = 6, 256

#: Tokens of neighbors that go through the model together.
_TOKENS = 1024

OK, WATCH, BAD = "ok", "watch", "bad"
#: From where on a number is to be watched, and from where on it is bad. They are ours, chosen on
#: the default model: 40 facts move its perplexity by 1 %, 200 in sequence by 12 %, and 400 by 28 %
#: while the edited matrices have moved by 35 to 90 % of their norm.
BANDS: Mapping[str, tuple[float, float]] = {
    "weights": (0.2, 0.5),
    "kl": (0.05, 0.2),
    "disagreement": (0.1, 0.25),
    "perplexity": (0.05, 0.2),
    "neighbors": (0.1, 0.3),
}


@dataclass(frozen=True, kw_only=True)
class Drift:
    """How far one state of a session is from the unedited model.

    Attributes:
        weights: Frobenius norm of the whole change of each edited matrix, as a share of the
            original's, by layer.
        kl: KL(before || after) of the next token, nats, mean over the tokens of the text.
        disagreement: share of these tokens at which the most likely next token is another one.
        perplexity_before: of the text, unedited; None for state 0, where nothing is measured.
        perplexity_after: of the text, in this state.
        neighbors: number of neighbor prompts of the facts written so far.
        neighbors_changed: share of them whose most likely next token is another one; None where
            there are none to ask.
        outside: ``|dW - dW P| / |dW|`` over all layers, P being the projector that each edit was
            made with; 0 up to rounding for an editor that projects; None where P is not to be had.
    """

    weights: Mapping[int, float]
    kl: float
    disagreement: float
    perplexity_before: float | None
    perplexity_after: float | None
    neighbors: int
    neighbors_changed: float | None
    outside: float | None

    @classmethod
    def unchanged(cls, layers: Sequence[int]) -> Drift:
        """The drift of the unedited model: every number is exactly 0."""
        return cls(
            weights=dict.fromkeys(layers, 0.0), kl=0.0, disagreement=0.0, perplexity_before=None,
            perplexity_after=None, neighbors=0, neighbors_changed=0.0, outside=0.0,
        )  # fmt: skip

    @property
    def largest_change(self) -> float:
        """The largest relative change of a layer's weights; not a number if one is not."""
        return max(self.weights.values(), key=lambda share: (math.isnan(share), share), default=0.0)

    @property
    def perplexity_change(self) -> float:
        """Relative change of the perplexity: 0.05 for 5 % more."""
        if self.perplexity_before is None or self.perplexity_after is None:
            return 0.0
        return self.perplexity_after / self.perplexity_before - 1

    @property
    def locality(self) -> float | None:
        """Share of the neighbors that are answered as before, or None without neighbors."""
        return None if self.neighbors_changed is None else 1 - self.neighbors_changed

    @property
    def bands(self) -> dict[str, str]:
        """``ok``, ``watch`` or ``bad`` for every number that ``BANDS`` names and that is known."""
        values = {
            "weights": self.largest_change,
            "kl": self.kl,
            "disagreement": self.disagreement,
            "perplexity": self.perplexity_change,
            "neighbors": self.neighbors_changed,
        }
        return {name: _band(value, *BANDS[name]) for name, value in values.items()
                if value is not None}  # fmt: skip

    @property
    def band(self) -> str:
        """The worst of the bands."""
        found = self.bands.values()
        return next((word for word in (BAD, WATCH) if word in found), OK)

    def to_pandas(self) -> pandas.DataFrame:
        """Return a data frame with one row and the columns of :meth:`DriftTracker.to_pandas`.

        Raises:
            InputError: if pandas is not installed.
        """
        return _frame([(None, self)]).drop(columns="state")


def _frame(drifts: Sequence[tuple[int | None, Drift]]) -> pandas.DataFrame:
    """Some states of a session and their drift, as a data frame."""
    layers = sorted({layer for _, drift in drifts for layer in drift.weights})
    columns: dict[str, type] = {
        "state": int, "kl": float, "disagreement": float, "perplexity_before": float,
        "perplexity_after": float, "perplexity_change": float, "neighbors": int,
        "neighbors_changed": float, "outside": float, "band": str, "max_weight_change": float,
        **{f"weight_change_{layer}": float for layer in layers},
    }  # fmt: skip
    rows = [
        (
            state or 0, drift.kl, drift.disagreement, drift.perplexity_before,
            drift.perplexity_after, drift.perplexity_change, drift.neighbors,
            drift.neighbors_changed, drift.outside, drift.band, drift.largest_change,
            *(drift.weights.get(layer) for layer in layers),
        )
        for state, drift in drifts
    ]  # fmt: skip
    return data_frame(columns, rows)


def _band(value: float, watch: float, bad: float) -> str:
    # Asked so that what is not a number is bad.
    return OK if value < watch else WATCH if value < bad else BAD


class TextBaseline:
    """How a model reads a text now, to be compared with how it read it when that was kept.

    Args:
        model: the model.
        probe: the text, as :func:`~.sources.open_text` takes it; its first windows are read.
        monitor: told about the fetching of the packaged text.

    Attributes:
        windows: (windows, tokens), int64, on the model's device.

    Raises:
        InputError: if the text cannot be used or has not one whole window.
    """

    def __init__(
        self,
        model: EditableModel,
        probe: str | PathLike[str] | TextSource,
        monitor: Monitor | None = None,
    ) -> None:
        self._model = model
        source = open_text(probe, model, monitor)
        length = min(WINDOW, window_length(model))
        windows = list(pack(source.documents(), model, length, WINDOWS * length))
        if not windows:
            raise InputError(
                f'text "{source.name}" is shorter than one window of {length} tokens; give a '
                "longer one to measure drift on"
            )
        self.windows = torch.tensor(windows, device=model.device)
        self._kept: Tensor | None = None

    @property
    def is_kept(self) -> bool:
        """Whether :meth:`keep` was called."""
        return self._kept is not None

    @torch.no_grad()
    def keep(self, monitor: Monitor) -> None:
        """Keep how the model reads the text now; the monitor advances by each window."""
        self._kept = last_block_outputs(self._model, self.windows, monitor)

    @torch.no_grad()
    def compare(self, monitor: Monitor) -> tuple[float, float, float, float]:
        """Read the text again; see :func:`compare_outputs`. Advances by each window."""
        assert self._kept is not None
        now = last_block_outputs(self._model, self.windows, monitor)
        return compare_outputs(
            self._model, self._kept.flatten(0, 1), now.flatten(0, 1),
            self.windows[:, 1:].flatten(), monitor,
        )  # fmt: skip


class DriftTracker:
    """The drift of every state of one session; a state is measured once.

    Args:
        session: the session.
        probe: the text to read, as :func:`~.sources.open_text` takes it; None for
            :func:`default_probe`.

    Attributes:
        probe: the text.
    """

    def __init__(
        self, session: EditSession, probe: str | PathLike[str] | TextSource | None = None
    ) -> None:
        self._session = session
        self.probe = default_probe(session.hyperparameters.text) if probe is None else probe
        self._reading: TextBaseline | None = None
        self._found: dict[object, Drift] = {}

    def known(self, number: int) -> Drift | None:
        """The drift after so many edits if it has been measured; without any work.

        Raises:
            SessionError: if there are not so many edits.
        """
        entry = self._entry(number)
        if entry is None:
            return Drift.unchanged(self._session.hyperparameters.layers)
        return self._found.get(_key(entry))

    def measure(self, number: int, monitor: Monitor | None = None) -> Drift:
        """The drift after so many edits, also of undone ones; see :func:`measure`."""
        found = self.known(number)
        if found is None:
            with self._session.model.exclusive():
                found = self._measure(number, monitor or Monitor())
            entry = self._entry(number)
            assert entry is not None
            self._found[_key(entry)] = found
        return found

    def to_pandas(self) -> pandas.DataFrame:
        """Return a data frame with one row per state that was measured, ascending.

        Columns:

        - ``state``: number of edits in the model.
        - ``kl``, ``disagreement``, ``perplexity_before``, ``perplexity_after``,
          ``perplexity_change``, ``neighbors``, ``neighbors_changed``, ``outside``, ``band``: see
          the attributes of :class:`Drift`.
        - ``max_weight_change``, and ``weight_change_LAYER`` for each edited layer.

        Raises:
            InputError: if pandas is not installed.
        """
        states = range(len(self._session.history) + 1)
        return _frame([(n, drift) for n in states if (drift := self.known(n)) is not None])

    def _entry(self, number: int) -> Edit | None:
        """The edit that leads to a state; None for state 0."""
        history = self._session.history
        if not 0 <= number <= len(history):
            raise SessionError(f"there is no state {number}; give 0 to {len(history)}")
        return history.entries[number - 1] if number else None

    @torch.no_grad()
    def _measure(self, number: int, monitor: Monitor) -> Drift:
        session, model = self._session, self._session.model
        entries = session.history.entries[:number]
        prompts = neighbors_of(entries)
        if self._reading is None:
            self._reading = TextBaseline(model, self.probe, monitor)
        reading = self._reading
        total = len(reading.windows) * (1 if reading.is_kept else 2)
        with monitor.stage("drift", total, "window"):
            with session.at_state(0):
                if not reading.is_kept:
                    reading.keep(monitor)
                answers = _next_tokens(model, prompts, monitor)
            with session.at_state(number):
                kl, disagreement, before_nll, after_nll = reading.compare(monitor)
                answers_now = _next_tokens(model, prompts, monitor)
        changed = sum(a != b for a, b in zip(answers, answers_now, strict=True))
        return Drift(
            weights=weight_changes(entries),
            kl=kl,
            disagreement=disagreement,
            perplexity_before=_exp(before_nll),
            perplexity_after=_exp(after_nll),
            neighbors=len(prompts),
            neighbors_changed=changed / len(prompts) if prompts else None,
            outside=self._outside(entries, monitor),
        )

    def _outside(self, entries: Sequence[Edit], monitor: Monitor) -> float | None:
        hp = self._session.hyperparameters
        own = {(entry.hyperparameters.text, entry.hyperparameters.tokens) for entry in entries}
        if own != {(hp.text, hp.tokens)}:
            return None  # the spectra that are at hand are not those that the edits were made with
        try:
            return outside_share(entries, self._session.spectra(monitor))
        except (FetchError, InputError):  # of a loaded session whose text is no longer there
            return None


def measure(
    session: EditSession,
    number: int,
    monitor: Monitor | None = None,
    probe: str | PathLike[str] | TextSource | None = None,
) -> Drift:
    """The drift of one state of a session; the weights are as before afterwards.

    Several states are measured faster with one :class:`DriftTracker`.

    Args:
        session: the session.
        number: the state after so many edits, undone ones too; 0 is the unedited model.
        monitor: what to report to.
        probe: the text to read; None for :func:`default_probe`.

    Raises:
        SessionError: if there are not so many edits, or another thread uses the model.
        InputError: if the text cannot be used or has not one whole window.
        Canceled: if canceled.
    """
    return DriftTracker(session, probe).measure(number, monitor)


def default_probe(text: str) -> str:
    """The text that drift is measured on: ``PROBE``, or the statistics' own text if it is a file.

    Who brings a text of one's own may be without a network, and then the packaged one is not to be
    had. A file is not held out from the statistics, but still has nothing to do with the facts.
    """
    return text if Path(text).suffix.lower() in {".txt", ".jsonl"} else PROBE


def neighbors_of(entries: Sequence[Edit]) -> list[str]:
    """The neighbor prompts of all facts of some edits, each once, without those that are edited.

    A neighbor of one fact may be the very prompt, or a paraphrase, of another fact, and is meant
    to change then.
    """
    facts = [fact for entry in entries for fact in entry.facts]
    edited = {text for fact in facts for text in (fact.text, *fact.paraphrases)}
    prompts = dict.fromkeys(prompt for fact in facts for prompt in fact.neighbors)
    return [prompt for prompt in prompts if prompt not in edited]


def weight_changes(entries: Sequence[Edit]) -> dict[int, float]:
    """``|dW| / |W|`` by layer: Frobenius norms of the sum of all changes and of the original."""
    originals = {
        write.layer: write.weight_norm
        for entry in entries
        for batch in entry.result.writes
        for write in batch
    }
    return {
        layer: relative(total_change([change for _, change in changes]).norm, originals[layer])
        for layer, changes in _by_layer(entries).items()
    }


def outside_share(entries: Sequence[Edit], spectra: Mapping[int, Spectrum]) -> float:
    """``|dW - dW P| / |dW|``, Frobenius norms over all layers.

    Each edit's own change is projected with the P of its own threshold.

    Args:
        entries: some edits.
        spectra: the spectrum of every layer that they changed.

    Raises:
        CorruptFileError: if a file of eigenvectors cannot be read.
    """
    whole = left = 0.0
    for layer, changes in _by_layer(entries).items():
        whole += total_change([change for _, change in changes]).norm ** 2
        outside: list[WeightUpdate] = []
        for threshold in dict.fromkeys(threshold for threshold, _ in changes):
            projector = spectra[layer].projector(threshold)
            own = total_change([change for other, change in changes if other == threshold])
            outside.append(projected(own, lambda x, p=projector: x - p(x)))  # type: ignore[misc]
        left += total_change(outside).norm ** 2
    return math.sqrt(left / whole) if whole else 0.0


def _next_tokens(model: EditableModel, prompts: Sequence[str], monitor: Monitor) -> list[int]:
    """The most likely next token after each prompt."""
    rows = [encode(model.tokenizer, prompt)[0] for prompt in prompts]
    for prompt, row in zip(prompts, rows, strict=True):
        check_room(model, prompt, len(row), tokens=0)
    found = [0] * len(rows)
    for group in by_length([len(row) for row in rows], _TOKENS):
        monitor.check()
        padded = pad_rows([rows[i] for i in group], model.device)
        hidden = record(model, padded, model.layers, model.layers).entry
        last = [len(rows[i]) - 1 for i in group]
        logits = model.architecture.logits(hidden[list(range(len(group))), last])
        for i, token in zip(group, logits.argmax(dim=-1).tolist(), strict=True):
            found[i] = token
    return found


def _by_layer(entries: Sequence[Edit]) -> dict[int, list[tuple[Threshold, WeightUpdate]]]:
    """All changes of each layer in order, each with the threshold of its edit."""
    found: dict[int, list[tuple[Threshold, WeightUpdate]]] = {}
    for entry in entries:
        for batch in entry.batches:
            for layer, change in batch.changes.items():
                threshold = entry.hyperparameters.at(layer).threshold
                found.setdefault(layer, []).append((threshold, change))
    return dict(sorted(found.items()))


def _key(entry: Edit) -> object:
    """What tells the state after an edit from all others of a session; a title plays no part."""
    return entry.created, entry.digest, tuple(fact.neighbors for fact in entry.facts)


def _exp(nll: float) -> float:
    """exp, without the overflow error of the math module: a broken model's perplexity is inf."""
    return float(torch.tensor(nll, dtype=torch.float64).exp())
