"""The unedited model's way of reading ordinary text, kept to compare edited ones with it.

Of an experiment's states only one is in the model at a time, and the way back to the unedited one
is closed while a method is at work. So what drift is measured against is kept once, before the
first edit: outputs for the windows of a text, and hidden states of prompts that no edit is about.
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
"""What :meth:`DriftBaseline.compare` measures, by name."""


class DriftBaseline:
    """Keeps how a model, unedited now, reads a text; compares edited states of it with that.

    Args:
        model: the model, unedited.
        probe: the text, as :func:`~.sources.open_text` takes it.
        layer: the block whose output is read for the hidden states.
        subjects: of the facts that will be written; sentences with one of them are left out.
        monitor: what to report to.

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
        self._reading = TextBaseline(model, probe, monitor)
        self._prompts = sentences_without(subjects, model, probe, monitor=monitor)
        with model.exclusive(), monitor.stage("how the unedited model reads", self._total, "text"):
            self._reading.keep(monitor)
            self._states = end_states(model, self._prompts, layer, monitor)

    @property
    def _total(self) -> int:
        return len(self._reading.windows) + len(self._prompts)

    def compare(self, monitor: Monitor) -> dict[str, float]:
        """How differently the model reads now, by the names in ``DRIFTS``.

        Raises:
            SessionError: if another thread uses the model.
            Canceled: if canceled.
        """
        with self._model.exclusive(), monitor.stage("drift", self._total, "text"):
            kl, disagreement, _, _ = self._reading.compare(monitor)
            states = end_states(self._model, self._prompts, self._layer, monitor)
        moved = compare_states(self._states, states, 0, self._layer, self._prompts)
        return {
            "kl": kl,
            "disagreement": 100 * disagreement,
            "mean_shift": 100 * moved.mean_shift,
            "prompt_shift": 100 * moved.prompt_shift,
            "cosine": moved.cosine,
        }
