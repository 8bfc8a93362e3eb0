"""Drift: how far edits have moved a model away from the unedited one, in a few numbers.

All numbers compare a state of a session with its state 0: the change of the weights, the change of
the predictions on a fixed piece of ordinary text, the share of neighborhood prompts with another
answer, and the share of the update outside the null space. Instead of a second copy of the model,
the outputs of the unedited model's last block are stored. No edit changes the norm and the head, so
the logits are computed from these outputs, piece by piece.
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
from alphaedit_core.inference.completions import check_max_length
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

#: Default text to measure drift on; held out from all statistics.
PROBE = "wikipedia-sample:probe"
#: Number of windows, from the start of the text, and their length in tokens (shorter if a model
#: reads fewer). The numbers depend on the windows, so these are the same for every model.
WINDOWS, WINDOW = 6, 256

#: Tokens of neighborhood prompts per forward pass.
_TOKENS = 1024

OK, WATCH, BAD = "ok", "watch", "bad"
#: Lower bounds of the bands "watch" and "bad". They are this project's own choice, based on the
#: default model: 40 facts change its perplexity by 1 %, 200 in sequence by 12 %, and 400 by 28 %,
#: with a change of the edited matrices by 35 to 90 % of their norm.
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
        weights: Frobenius norm of the total change of each edited matrix, as a share of the
            original's norm, by layer.
        kl: KL(before || after) of the next token, nats, mean over the tokens of the text.
        disagreement: share of these tokens whose most likely next token differs.
        perplexity_before: perplexity of the text in the unedited model; None for state 0, where
            nothing is measured.
        perplexity_after: perplexity of the text in this state; None for state 0.
        neighbors: number of neighborhood prompts of the facts written so far.
        neighbors_changed: share of these prompts whose most likely next token differs; None
            without prompts.
        outside: ``|dW - dW P| / |dW|`` over all layers, with the projector P of each edit. It is
            0 up to rounding for an editor that projects, and None if P is not available.
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
        """Return the drift of the unedited model: every number is exactly 0."""
        return cls(
            weights=dict.fromkeys(layers, 0.0), kl=0.0, disagreement=0.0, perplexity_before=None,
            perplexity_after=None, neighbors=0, neighbors_changed=0.0, outside=0.0,
        )  # fmt: skip

    @property
    def largest_change(self) -> float:
        """The largest relative change of a layer's weights; nan if one of them is nan."""
        return max(self.weights.values(), key=lambda share: (math.isnan(share), share), default=0.0)

    @property
    def perplexity_change(self) -> float:
        """Relative change of the perplexity: 0.05 for 5 % more."""
        if self.perplexity_before is None or self.perplexity_after is None:
            return 0.0
        return self.perplexity_after / self.perplexity_before - 1

    @property
    def locality(self) -> float | None:
        """Share of the neighborhood prompts with an unchanged answer; None without prompts."""
        return None if self.neighbors_changed is None else 1 - self.neighbors_changed

    @property
    def bands(self) -> dict[str, str]:
        """``ok``, ``watch`` or ``bad`` for every known number in ``BANDS``."""
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
        bands = self.bands.values()
        return next((band for band in (BAD, WATCH) if band in bands), OK)

    def to_pandas(self) -> pandas.DataFrame:
        """Return a data frame with one row and the columns of :meth:`DriftTracker.to_pandas`.

        Raises:
            InputError: if pandas is not installed.
        """
        return _frame([(None, self)]).drop(columns="state")


def _frame(drifts: Sequence[tuple[int | None, Drift]]) -> pandas.DataFrame:
    """Return a data frame of states and their drift."""
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
    # These comparisons make nan bad.
    return OK if value < watch else WATCH if value < bad else BAD


class TextBaseline:
    """Stored outputs of a model for a text, to compare with its outputs in a later state.

    Args:
        model: the model.
        probe: the text, as accepted by :func:`~.sources.open_text`; only its first windows count.
        monitor: receives the progress of a download of the packaged text.

    Attributes:
        windows: token ids, (windows, tokens), int64, on the model's device.

    Raises:
        InputError: if the text cannot be used or is shorter than one window.
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
        self._outputs: Tensor | None = None

    @property
    def is_kept(self) -> bool:
        """Whether :meth:`keep` was called."""
        return self._outputs is not None

    @torch.no_grad()
    def keep(self, monitor: Monitor) -> None:
        """Store the model's current outputs for the text; the monitor advances by each window."""
        self._outputs = last_block_outputs(self._model, self.windows, monitor)

    @torch.no_grad()
    def compare(self, monitor: Monitor) -> tuple[float, float, float, float]:
        """Compare current and stored outputs; see :func:`.compare_outputs` and :meth:`keep`."""
        assert self._outputs is not None
        current = last_block_outputs(self._model, self.windows, monitor)
        return compare_outputs(
            self._model, self._outputs.flatten(0, 1), current.flatten(0, 1),
            self.windows[:, 1:].flatten(), monitor,
        )  # fmt: skip


class DriftTracker:
    """Measures the drift of the states of one session, each of them once.

    Args:
        session: the session.
        probe: the text, as accepted by :func:`~.sources.open_text`; None for
            :func:`default_probe`.

    Attributes:
        probe: the text.
    """

    def __init__(
        self, session: EditSession, probe: str | PathLike[str] | TextSource | None = None
    ) -> None:
        self._session = session
        self.probe = default_probe(session.hyperparameters.text) if probe is None else probe
        self._baseline: TextBaseline | None = None
        self._measured: dict[object, Drift] = {}

    def known(self, number: int) -> Drift | None:
        """Return the drift after ``number`` edits if it was measured; never measures it.

        Raises:
            SessionError: if there are fewer edits.
        """
        entry = self._entry(number)
        if entry is None:
            return Drift.unchanged(self._session.hyperparameters.layers)
        return self._measured.get(_key(entry))

    def measure(self, number: int, monitor: Monitor | None = None) -> Drift:
        """Return the drift after ``number`` edits, including undone ones; see :func:`measure`."""
        drift = self.known(number)
        if drift is None:
            with self._session.model.exclusive():
                drift = self._measure(number, monitor or Monitor())
            entry = self._entry(number)
            assert entry is not None
            self._measured[_key(entry)] = drift
        return drift

    def to_pandas(self) -> pandas.DataFrame:
        """Return a data frame with one row per measured state, ascending.

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
        """Return the edit that leads to a state; None for state 0."""
        history = self._session.history
        if not 0 <= number <= len(history):
            raise SessionError(f"there is no state {number}; give 0 to {len(history)}")
        return history.entries[number - 1] if number else None

    @torch.no_grad()
    def _measure(self, number: int, monitor: Monitor) -> Drift:
        session, model = self._session, self._session.model
        entries = session.history.entries[:number]
        prompts = neighbors_of(entries)
        if self._baseline is None:
            self._baseline = TextBaseline(model, self.probe, monitor)
        baseline = self._baseline
        total = len(baseline.windows) * (1 if baseline.is_kept else 2)
        with monitor.stage("drift", total, "window"):
            with session.at_state(0):
                if not baseline.is_kept:
                    baseline.keep(monitor)
                answers_before = _next_tokens(model, prompts, monitor)
            with session.at_state(number):
                kl, disagreement, before_nll, after_nll = baseline.compare(monitor)
                answers_after = _next_tokens(model, prompts, monitor)
        changed = sum(a != b for a, b in zip(answers_before, answers_after, strict=True))
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
        texts = {(entry.hyperparameters.text, entry.hyperparameters.tokens) for entry in entries}
        if texts != {(hp.text, hp.tokens)}:
            return None  # the edits were made with other spectra than the session's present ones
        try:
            return outside_share(entries, self._session.spectra(monitor))
        except (FetchError, InputError):  # the text of a loaded session may no longer exist
            return None


def measure(
    session: EditSession,
    number: int,
    monitor: Monitor | None = None,
    probe: str | PathLike[str] | TextSource | None = None,
) -> Drift:
    """Measure the drift of one state of a session, and restore the weights afterwards.

    For several states, one :class:`DriftTracker` is faster.

    Args:
        session: the session.
        number: number of edits, including undone ones; 0 is the unedited model.
        monitor: receives progress.
        probe: the text to measure on; None for :func:`default_probe`.

    Raises:
        SessionError: if there are fewer edits, or another thread uses the model.
        InputError: if the text cannot be used or is shorter than one window.
        Canceled: if canceled.
    """
    return DriftTracker(session, probe).measure(number, monitor)


def default_probe(text: str) -> str:
    """Return the text to measure drift on: ``PROBE``, or the text of the statistics if a file.

    A user of a local file may have no network to download the packaged text. The file is not held
    out from the statistics, but it is unrelated to the facts.
    """
    return text if Path(text).suffix.lower() in {".txt", ".jsonl"} else PROBE


def neighbors_of(entries: Sequence[Edit]) -> list[str]:
    """Return the distinct neighborhood prompts of the facts of some edits.

    A neighborhood prompt that equals another fact's prompt or paraphrase is left out, because its
    answer is supposed to change.
    """
    facts = [fact for entry in entries for fact in entry.facts]
    edited = {text for fact in facts for text in (fact.text, *fact.paraphrases)}
    prompts = dict.fromkeys(prompt for fact in facts for prompt in fact.neighbors)
    return [prompt for prompt in prompts if prompt not in edited]


def weight_changes(entries: Sequence[Edit]) -> dict[int, float]:
    """Return ``|dW| / |W|`` by layer: Frobenius norms of the total change and of the original."""
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
    """Return ``|dW - dW P| / |dW|``, with Frobenius norms over all layers.

    Each edit's change is projected with the P of that edit's threshold.

    Args:
        entries: the edits.
        spectra: the spectrum of every layer that they changed.

    Raises:
        CorruptFileError: if a file of eigenvectors cannot be read.
    """
    total_square = outside_square = 0.0
    for layer, changes in _by_layer(entries).items():
        total_square += total_change([change for _, change in changes]).norm ** 2
        outside: list[WeightUpdate] = []
        for threshold in dict.fromkeys(threshold for threshold, _ in changes):
            projector = spectra[layer].projector(threshold)
            change = total_change([change for other, change in changes if other == threshold])
            outside.append(projected(change, lambda x, p=projector: x - p(x)))  # type: ignore[misc]
        outside_square += total_change(outside).norm ** 2
    return math.sqrt(outside_square / total_square) if total_square else 0.0


def _next_tokens(model: EditableModel, prompts: Sequence[str], monitor: Monitor) -> list[int]:
    """Return the most likely next token after each prompt."""
    rows = [encode(model.tokenizer, prompt)[0] for prompt in prompts]
    for prompt, row in zip(prompts, rows, strict=True):
        check_max_length(model, prompt, len(row), tokens=0)
    tokens = [0] * len(rows)
    for group in by_length([len(row) for row in rows], _TOKENS):
        monitor.check()
        padded = pad_rows([rows[i] for i in group], model.device)
        hidden = record(model, padded, model.layers, model.layers).entry
        last = [len(rows[i]) - 1 for i in group]
        logits = model.architecture.logits(hidden[list(range(len(group))), last])
        for i, token in zip(group, logits.argmax(dim=-1).tolist(), strict=True):
            tokens[i] = token
    return tokens


def _by_layer(entries: Sequence[Edit]) -> dict[int, list[tuple[Threshold, WeightUpdate]]]:
    """Return all changes of each layer in order, each with the threshold of its edit."""
    updates: dict[int, list[tuple[Threshold, WeightUpdate]]] = {}
    for entry in entries:
        for batch in entry.batches:
            for layer, change in batch.changes.items():
                threshold = entry.hyperparameters.at(layer).threshold
                updates.setdefault(layer, []).append((threshold, change))
    return dict(sorted(updates.items()))


def _key(entry: Edit) -> object:
    """Return a key that identifies the state after an edit; the title is not part of it."""
    return entry.created, entry.digest, tuple(fact.neighbors for fact in entry.facts)


def _exp(nll: float) -> float:
    """Return exp(nll), inf instead of math.exp's OverflowError for a broken model."""
    return float(torch.tensor(nll, dtype=torch.float64).exp())
