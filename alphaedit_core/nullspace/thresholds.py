"""Thresholds on a layer's eigenvalues, which decide the kept directions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from alphaedit_core.errors import InputError

Rule = Literal["absolute", "energy", "rank"]


@dataclass(frozen=True)
class Threshold:
    """A rule for which directions are kept.

    Attributes:
        rule: ``absolute`` keeps the directions with an eigenvalue below ``value`` (the paper's
            rule, with 0.02). ``energy`` keeps the largest number of directions whose leakage is at
            most ``value``. ``rank`` keeps the ``value`` directions of smallest eigenvalue.
        value: squared key norm per token (``absolute``), fraction of the energy from 0 to 1
            (``energy``), or number of directions (``rank``).
    """

    rule: Rule
    value: float

    @classmethod
    def parse(cls, text: str | float | Threshold) -> Threshold:
        """Parse ``0.02``, ``"absolute:0.02"``, ``"energy:0.1"`` or ``"rank:1000"``.

        A threshold is returned unchanged.

        Raises:
            InputError: if the text is none of these, or the value is out of range.
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
                f'threshold "{text}" cannot be parsed; use a number such as 0.02, "energy:0.1" '
                'with a fraction from 0 to 1, or "rank:1000"'
            )
        return cls(rule, value)  # type: ignore[arg-type]

    def __str__(self) -> str:
        number = str(int(self.value)) if self.rule == "rank" else repr(float(self.value))
        return number if self.rule == "absolute" else f"{self.rule}:{number}"
