"""One side of the comparison: heading, tokens, and the answer as text."""

from __future__ import annotations

from collections.abc import Sequence

import ipywidgets as W

from alphaedit_core.display.escaping import escape
from alphaedit_core.display.text_diff import words
from alphaedit_core.evaluation.before_after import StateAnswer
from alphaedit_widgets.components.token_chips import Chips

from .html import words_html


class Column(W.VBox):
    """The model's answer in one state.

    Args:
        side: ``Before`` or ``After``.
        word: what a token or word is that the other side lacks: ``removed`` or ``added``.

    Attributes:
        heading, text: as on the screen.
        chips: the tokens.
    """

    def __init__(self, side: str, word: str) -> None:
        self.side, self._word = side, word
        self.heading, self.text = W.HTML(), W.HTML()
        self.chips = Chips(side, side.lower())
        self.chips.note = "no answer yet"
        super().__init__([self.heading, self.text, self.chips])
        self.add_class("ae-column")

    def name(self, state: str) -> None:
        """Set the heading that names the state."""
        self.chips.label = f"{self.side}: {state}"
        self.heading.value = (
            f'<h4 data-side="{self.side.lower()}" data-testid="heading-{self.side.lower()}">'
            f"{escape(self.chips.label)}</h4>"
        )

    def show(self, answer: StateAnswer, tokens: int) -> None:
        """Show an answer, given the requested number of tokens."""
        self._answer = answer
        ended = len(answer.steps) < tokens
        self.chips.fill(answer.steps, note="end of text" if ended else "")

    def mark(self, flags: Sequence[bool], *, matches: bool, by_tokens: bool) -> None:
        """Mark the tokens or words that differ from the other side, or that match it."""
        marks = [("" if flag else "same") if matches else (self._word if flag else "")
                 for flag in flags]  # fmt: skip
        pieces = words(self._answer.text)
        of_tokens = marks if by_tokens else [""] * len(self._answer.steps)
        of_words = [""] * len(pieces) if by_tokens else marks
        self.chips.mark(of_tokens)
        self.text.value = (
            f'<p class="ae-words" dir="auto" data-testid="text-{self.side.lower()}">'
            f"{words_html(pieces, of_words)}</p>"
        )
