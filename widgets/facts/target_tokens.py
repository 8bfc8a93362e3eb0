"""A target as the model's tokens, with visible spaces."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from alphaedit_core.model.tokenization import target_ids
from alphaedit_widgets.components.token_chips import visible

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

#: Decoders write this character for bytes that do not (yet) form a character.
_BROKEN = "\ufffd"


class TokenizedTarget(NamedTuple):
    """A tokenized target.

    Attributes:
        texts: their texts, ``·`` for a space and ``↵`` for a line's end. Tokens that only together
            make a character are one text that says how many they are: ``東 (3 tokens)``.
        tokens: how many tokens there are.
    """

    texts: tuple[str, ...] = ()
    tokens: int = 0


def split_target(tokenizer: PreTrainedTokenizerFast, prompt: str, target: str) -> TokenizedTarget:
    """Tokenize a target as the continuation of a prompt.

    Args:
        tokenizer: the model's.
        prompt: the complete prompt, not blank.
        target: the target, not blank.
    """
    # After another word, since some tokenizers drop the space of a text's first word.
    anchor = list(tokenizer("x", add_special_tokens=False)["input_ids"])

    def decode(ids: list[int]) -> str:
        return str(tokenizer.decode(ids, clean_up_tokenization_spaces=False))

    texts: list[str] = []
    pending: list[int] = []
    ids = target_ids(tokenizer, prompt, target)
    for position, token in enumerate(ids, 1):
        pending.append(token)
        text = decode(anchor + pending)[len(decode(anchor)) :]
        if _BROKEN in text and position < len(ids):
            continue
        count = f" ({len(pending)} tokens)" if len(pending) > 1 else ""
        texts.append(visible(text) + count)
        pending = []
    return TokenizedTarget(tuple(texts), len(ids))
