"""Thresholds: where on a layer's eigenvalues the kept space begins."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from alphaedit_core.errors import InputError

Rule = Literal["absolute", "energy", "rank"]


@dataclass(frozen=True)
class Threshold:
    """Where the kept space ends.

    Attributes:
        rule: ``absolute`` keeps the directions with an eigenvalue under ``value`` (the paper's
            rule, 0.02); ``energy`` keeps as many as leave the leakage at or under ``value``;
            ``rank`` keeps ``value`` of them, from the smallest eigenvalue up.
        value: in the unit of the rule: squared key norm per token, a fraction, a number.
    """

    rule: Rule
    value: float

    @classmethod
    def parse(cls, text: str | float | Threshold) -> Threshold:
        """From ``0.02``, ``"absolute:0.02"``, ``"energy:0.1"`` or ``"rank:1000"``.

        Raises:
            InputError: if it is none of these, or out of range.
        """
        if isinstance(text, Threshold):
            return text
        rule, _, number = str(text).rpartition(":")
        rule = rule or "absolute"
        try:
            value = float(number)
        except ValueError:
            value = float("nan")
        bounds = {"absolute": (0.0, math.inf), "energy": (0.0, 1.0), "rank": (0.0, math.inf)}
        low, high = bounds.get(rule, (math.nan, math.nan))
        if not low <= value <= high or (rule == "rank" and not value.is_integer()):
            raise InputError(
                f'threshold "{text}" is not understood; give a number such as 0.02, "energy:0.1" '
                'with a fraction from 0 to 1, or "rank:1000"'
            )
        return cls(rule, value)  # type: ignore[arg-type]

    def __str__(self) -> str:
        number = str(int(self.value)) if self.rule == "rank" else repr(float(self.value))
        return number if self.rule == "absolute" else f"{self.rule}:{number}"
