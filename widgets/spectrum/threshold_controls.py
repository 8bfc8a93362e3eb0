"""The controls of a threshold: rule, number box and slider, always in agreement."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import ipywidgets as W
import numpy as np

from alphaedit_core.display.escaping import escape
from alphaedit_core.errors import InputError
from alphaedit_core.nullspace.spectrum import Spectrum
from alphaedit_core.nullspace.thresholds import Rule, Threshold
from alphaedit_widgets.components.inputs import Slider
from alphaedit_widgets.components.panel import button, row

from .scales import DEFAULT, LOG_STEP, from_log, log_threshold, slider_ends

_RULES: dict[str, Rule] = {
    "absolute: eigenvalues below it": "absolute",
    "energy: leakage at most": "energy",
    "rank: directions kept": "rank",
}
_UNITS: dict[Rule, str] = {
    "absolute": "Squared key norm per token. The slider is logarithmic (log10).",
    "energy": "Largest share of ordinary text's energy in the kept space, 0 to 1.",
    "rank": "Number of directions, counted from the smallest eigenvalue up.",
}
#: Positions closer than this count as equal: thresholds have seven digits.
_SAME = 1e-6


class ThresholdControls(W.VBox):
    """Rule, number box, slider and Reset for one threshold.

    The controls keep no state: they report the user's input and show what :meth:`set` gives them.
    :meth:`set` triggers their own change events, too; those carry the value already shown and are
    ignored.

    Args:
        chosen: given the threshold that was typed or slid to.
        rule_chosen: given another rule, for which the threshold has to be converted.
        reset: called by Reset.
        refused: given what was wrong with a number that was typed.
    """

    def __init__(
        self,
        chosen: Callable[[Threshold], None],
        rule_chosen: Callable[[Rule], None],
        reset: Callable[..., None],
        refused: Callable[[InputError], None],
    ) -> None:
        self._chosen, self._rule_chosen, self._refused = chosen, rule_chosen, refused
        self._threshold = Threshold("absolute", DEFAULT)
        self._position = float("nan")
        named = {"style": {"description_width": "initial"}}
        self.rule = W.Dropdown(
            description="Rule", options=list(_RULES.items()), layout=W.Layout(width="270px"),
            **named,
        )  # fmt: skip
        self.number = W.FloatText(
            description="Threshold", layout=W.Layout(width="190px"), continuous_update=False,
            **named,
        )  # fmt: skip
        self.slider = Slider(label="Threshold slider", layout=W.Layout(flex="1 1 220px"))
        self.reset = button(f"Reset to {DEFAULT}, AlphaEdit's default", "reset", reset)
        self._unit = W.HTML()
        super().__init__([row(self.rule, self.number, self.slider, self.reset), self._unit])
        self.rule.observe(self._rule_changed, "value")
        self.number.observe(self._number_changed, "value")
        self.slider.observe(self._slider_changed, "value")

    @property
    def position(self) -> float:
        """Position of the slider: log10 of an absolute threshold, otherwise its value."""
        return self._position

    def set(
        self,
        threshold: Threshold,
        spectrum: Spectrum | None,
        spectra: Mapping[int, Spectrum],
        size: int,
    ) -> None:
        """Show a threshold.

        Args:
            threshold: the threshold.
            spectrum: spectrum of the layer shown, if computed.
            spectra: all computed spectra, per layer.
            size: d_in, the largest rank.
        """
        self._threshold = threshold
        if threshold.rule == "absolute":
            position = float(np.log10(max(threshold.value, 1e-8)))
            if spectrum is not None:
                position = log_threshold(spectrum, threshold)
            # If the threshold equals the slider's to seven digits, keep the slider's own number:
            # a rounded one sent back would move the handle while the user drags it.
            position = self.slider.value if abs(self.slider.value - position) <= _SAME else position
            low, high = slider_ends(spectra.values(), position)
            step = LOG_STEP
        else:
            rank = threshold.rule == "rank"
            position, low, step = threshold.value, 0.0, (1.0 if rank else 0.001)
            high = max(float(size), position) if rank else 1.0
        self._position = position
        self.rule.value = threshold.rule
        if self.number.value != threshold.value:
            self.number.value = threshold.value
        with self.slider.hold_sync():
            self.slider.min, self.slider.max, self.slider.step = low, high, step
            self.slider.value, self.slider.words = position, f"threshold {threshold}"
        unit = escape(_UNITS[threshold.rule])
        self._unit.value = f'<p class="ae-quiet" data-testid="unit">{unit}</p>'

    def lock(self, locked: bool, convertible: bool) -> None:
        """Disable input while the session is busy, and conversion without a spectrum."""
        self.number.disabled = self.reset.disabled = locked
        self.rule.disabled = locked or not convertible

    def _rule_changed(self, change: Any) -> None:
        if change["new"] != self._threshold.rule:
            self._rule_chosen(change["new"])

    def _number_changed(self, change: Any) -> None:
        if change["new"] == self._threshold.value:
            return
        try:
            threshold = Threshold.parse(f"{self._threshold.rule}:{change['new']!r}")
        except InputError as error:
            self._refused(error)
        else:
            self._chosen(threshold)

    def _slider_changed(self, change: Any) -> None:
        value, rule = float(change["new"]), self._threshold.rule
        if abs(value - self._position) <= _SAME:
            return
        if rule == "absolute":
            self._chosen(from_log(value))
        elif rule == "energy":
            self._chosen(Threshold("energy", round(min(max(value, 0.0), 1.0), 6)))
        else:
            self._chosen(Threshold("rank", float(round(value))))
