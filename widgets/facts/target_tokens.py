"""A target as the tokens that a model has for it, with every space to be seen."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from alphaedit_core.model.tokenization import target_ids
from alphaedit_widgets.components.token_chips import visible

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

#: What decoders write for bytes that are not (yet) a character.
_BROKEN = "\ufffd"


class TokenizedTarget(NamedTuple):
    """A target as tokens.

    Attributes:
        texts: their texts, ``·`` for a space and ``↵`` for a line's end. Tokens that only together
            make a character are one text that says how many they are: ``東 (3 tokens)``.
        tokens: how many tokens there are.
    """

    texts: tuple[str, ...] = ()
    tokens: int = 0


def split_target(tokenizer: PreTrainedTokenizerFast, prompt: str, target: str) -> TokenizedTarget:
    """The tokens of a target as it follows a prompt.

    Args:
        tokenizer: the model's.
        prompt: the complete prompt, not blank.
        target: the target, not blank.
    """
    # Behind another word, since the first of a text loses its space in some tokenizers.
    front = list(tokenizer("x", add_special_tokens=False)["input_ids"])

    def decoded(ids: list[int]) -> str:
        return str(tokenizer.decode(ids, clean_up_tokenization_spaces=False))

    texts: list[str] = []
    held: list[int] = []
    ids = target_ids(tokenizer, prompt, target)
    for place, token in enumerate(ids, 1):
        held.append(token)
        text = decoded(front + held)[len(decoded(front)) :]
        if _BROKEN in text and place < len(ids):
            continue
        count = f" ({len(held)} tokens)" if len(held) > 1 else ""
        texts.append(visible(text) + count)
        held = []
    return TokenizedTarget(tuple(texts), len(ids))
