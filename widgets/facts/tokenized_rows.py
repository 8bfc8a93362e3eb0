"""The rows of the facts table as the browser shows them, with tokenized targets."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Any

from alphaedit_core.data.templates import filled, stripped
from alphaedit_core.model.tokenization import control_tokens
from alphaedit_widgets.fact_drafts import Draft

from .table import FIELDS
from .target_tokens import TokenizedTarget, split_target

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


class TokenizedRows:
    """A cache of tokenized targets.

    Args:
        tokenizer: the model's.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self._tokenizer = tokenizer
        self._splits: dict[tuple[str, str], TokenizedTarget] = {}
        self._control: list[str] | None = None

    def cells(self, draft: Draft) -> dict[str, Any]:
        """Return the fields shown for a row besides its number and status."""
        split, true_split = self.target(draft), self.target(draft, draft.target_true)
        extras = [
            f"{len(texts)} {name if len(texts) > 1 else name[:-1]}"
            for name in ("paraphrases", "neighbors")
            if (texts := getattr(draft, name))
        ]
        fields = filled(draft.prompt, draft.subject), draft.target, draft.target_true
        if self._control is None:
            self._control = control_tokens(self._tokenizer)
        control = [token for token in self._control if any(token in text for text in fields)]
        extras += [f"control token {token}" for token in control]
        return {
            **{name: encodable(getattr(draft, name)) for name in FIELDS},
            "tokens": list(split.texts),
            "trueTokens": list(true_split.texts),
            "extra": ", ".join(extras),
        }

    def target(self, draft: Draft, target: str | None = None) -> TokenizedTarget:
        """Tokenize a draft's target, or another one; [] without a target or a prompt."""
        prompt = _normalized(filled(draft.prompt, draft.subject))
        target = _normalized(draft.target if target is None else target)
        if not prompt or not target:
            return TokenizedTarget()
        key = prompt, target
        if key not in self._splits:
            self._splits[key] = split_target(self._tokenizer, prompt, target)
        return self._splits[key]


def encodable(text: str) -> str:
    """Replace unpaired surrogates, which cannot be encoded in a message."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _normalized(text: str) -> str:
    return unicodedata.normalize("NFC", stripped(encodable(text)))
