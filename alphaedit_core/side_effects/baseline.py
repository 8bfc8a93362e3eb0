"""Baseline for drift: outputs and hidden states of the unedited model, to compare edited ones with.

An experiment has only one state of the model at a time, and a running method cannot go back to the
unedited one. So the baseline is computed once, before the first edit: outputs for the windows of a
text, and hidden states of prompts unrelated to the edits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from os import PathLike

from alphaedit_core.corpora.sources import TextSource
from alphaedit_core.model.editable_model import EditableModel
from alphaedit_core.progress import Monitor

from .drift import TextBaseline
from .hidden_states import DEFINITIONS, compare_states, end_states, sentences_without

_STATES = "hidden states h of unrelated prompts after the last edited block"
DRIFTS: Mapping[str, str] = {
    "kl": "KL(before || after) of the next token, nats, mean over the tokens of ordinary text; "
    "lower is better",
    "disagreement": "share of these tokens at which the most likely next token is another one, %; "
    "lower is better",
    "mean_shift": f"{_STATES}: {DEFINITIONS['mean shift']}",
    "prompt_shift": f"{_STATES}: {DEFINITIONS['shift of a prompt']}",
    "cosine": f"{_STATES}: {DEFINITIONS['cosine']}",
}
"""Definitions of the numbers of :meth:`DriftBaseline.compare`, by name."""


class DriftBaseline:
    """Outputs and hidden states of the unedited model, to compare edited states with.

    Args:
        model: the unedited model.
        probe: the text, as accepted by :func:`~.sources.open_text`.
        layer: the block whose output gives the hidden states.
        subjects: subjects of the facts to be edited; sentences that contain one are left out.
        monitor: receives progress.

    Raises:
        InputError: if the text cannot be used, or is too short.
        Canceled: if canceled.
    """

    def __init__(
        self,
        model: EditableModel,
        probe: str | PathLike[str] | TextSource,
        layer: int,
        subjects: Iterable[str],
        monitor: Monitor,
    ) -> None:
        self._model, self._layer = model, layer
        self._text_baseline = TextBaseline(model, probe, monitor)
        self._prompts = sentences_without(subjects, model, probe, monitor=monitor)
        with model.exclusive(), monitor.stage("drift baseline", self._total, "text"):
            self._text_baseline.keep(monitor)
            self._states = end_states(model, self._prompts, layer, monitor)

    @property
    def _total(self) -> int:
        return len(self._text_baseline.windows) + len(self._prompts)

    def compare(self, monitor: Monitor) -> dict[str, float]:
        """Return the drift of the model's current state, by the names in ``DRIFTS``.

        Raises:
            SessionError: if another thread uses the model.
            Canceled: if canceled.
        """
        with self._model.exclusive(), monitor.stage("drift", self._total, "text"):
            kl, disagreement, _, _ = self._text_baseline.compare(monitor)
            states = end_states(self._model, self._prompts, self._layer, monitor)
        moved = compare_states(self._states, states, 0, self._layer, self._prompts)
        return {
            "kl": kl,
            "disagreement": 100 * disagreement,
            "mean_shift": 100 * moved.mean_shift,
            "prompt_shift": 100 * moved.prompt_shift,
            "cosine": moved.cosine,
        }
