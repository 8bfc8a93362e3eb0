"""Generation token by token, with the probability of each token and its alternatives."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache

from alphaedit_core.errors import InputError, SessionError
from alphaedit_core.model.editable_model import EditableModel
from alphaedit_core.model.forward import ending_before, run_model
from alphaedit_core.model.tokenization import encode
from alphaedit_core.progress import Monitor

from .completions import BROKEN, CONTEXT, check_max_length, closing_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


@dataclass(frozen=True)
class Sampling:
    """Sampling settings; the same seed and probabilities give the same tokens.

    Attributes:
        seed: seed of the generator, which is on the CPU on every device.
        temperature: divisor of the logits.
        top_p: sample from the smallest set of most likely tokens with at least this total
            probability (nucleus sampling, Holtzman et al. 2020); 1 for all.

    Raises:
        InputError: if a number is out of range.
    """

    seed: int = 0
    temperature: float = 1.0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise InputError(
                f"temperature {self.temperature} is not above 0; for the likeliest tokens, do "
                "without sampling"
            )
        if not 0 < self.top_p <= 1:
            raise InputError(f"top-p {self.top_p} is not above 0 and at most 1; give 1 for all")


@dataclass(frozen=True)
class Choice:
    """A candidate for the next token.

    Attributes:
        token: its id.
        text: the text that it adds; "" if it is only part of a character.
        probability: under the model's distribution, at temperature 1.
        rank: its rank among all tokens, 1 for the most likely.
        part: its bytes if it is only part of a character.
    """

    token: int
    text: str
    probability: float
    rank: int
    part: bytes = b""

    @property
    def label(self) -> str:
        """Its text; else its bytes in hexadecimal, or its id."""
        if self.text:
            return self.text
        return f"<{self.part.hex(' ').upper()}>" if self.part else f"#{self.token}"


@dataclass(frozen=True)
class TokenStep(Choice):
    """A generated token, with its alternatives.

    Attributes:
        top: the most likely tokens at this place, the most likely first.
    """

    top: tuple[Choice, ...] = ()


def text_of(steps: Sequence[TokenStep]) -> str:
    """Return the text of the tokens, without an incomplete character at the end."""
    return "".join(step.text for step in steps)


@torch.no_grad()
def generate_with_probabilities(
    model: EditableModel,
    prompt: str | Sequence[int],
    tokens: int = 12,
    sampling: Sampling | None = None,
    top: int = 5,
    monitor: Monitor | None = None,
) -> list[TokenStep]:
    """Generate a continuation token by token, with probabilities.

    Args:
        model: the model with its current weights.
        prompt: a text, or token ids, for example of :func:`chat_ids`.
        tokens: maximum number of new tokens; a closing token ends the text earlier and is dropped.
        sampling: None for greedy decoding, whatever the model's generation settings.
        top: number of most likely tokens to record at each place.
        monitor: receives progress, and can cancel after every token.

    Raises:
        InputError: if the prompt has no token, or prompt and new tokens exceed the model's
            positions.
        SessionError: if the model's output is not finite.
        Canceled: if canceled.
    """
    monitor = monitor or Monitor(show=None)
    ids = encode(model.tokenizer, prompt)[0] if isinstance(prompt, str) else list(prompt)
    check_max_length(model, prompt, len(ids), tokens)
    ends = set(closing_tokens(model))
    spelling = _Spelling(model.tokenizer, ids)
    generator = torch.Generator().manual_seed(sampling.seed) if sampling else None
    seen, growing = 0, DynamicCache()
    steps: list[TokenStep] = []
    with monitor.stage("continuation", tokens, "token"):
        while len(steps) < tokens:
            logits = _next_logits(model, ids, seen, growing)
            token = int(logits.argmax()) if sampling is None else _draw(logits, sampling, generator)
            if token in ends:
                break
            steps.append(_step(token, logits, top, spelling))
            seen, ids = seen + len(ids), [token]
            monitor.advance()
    return steps


def has_chat(model: EditableModel) -> bool:
    """Return true if the tokenizer has a chat template."""
    return bool(getattr(model.tokenizer, "chat_template", None))


def chat_ids(model: EditableModel, prompt: str) -> list[int]:
    """Return the token ids of a chat with the prompt as user message, up to the answer.

    Raises:
        InputError: if the tokenizer has no chat template, or the template refuses the message.
    """
    if not has_chat(model):
        raise InputError(f'the tokenizer of "{model.name}" has no chat template; ask without chat')
    try:
        written: Any = model.tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
        )
    except Exception as error:  # templates are the model's own code
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f'the chat template of "{model.name}" does not take this prompt ({reason}); ask '
            "without chat"
        ) from error
    return list(written["input_ids"])


# -- one step --------------------------------------------------------------------------------------


def _next_logits(
    model: EditableModel, ids: Sequence[int], seen: int, growing: DynamicCache
) -> Tensor:
    """Return the logits after ``ids``, which follow ``seen`` cached tokens: (vocabulary,), CPU."""
    row = torch.tensor([list(ids)], device=model.device)
    positions = torch.arange(seen, seen + len(ids), device=model.device)[None]
    with ending_before(model, model.layers) as last:
        run_model(model, row, positions=positions, cache=growing)
    logits = model.architecture.logits(last[0][:, -1])[0].cpu().double()
    if bool(logits.isnan().any()):
        raise SessionError("the model's output is no number any more; undo the last edit")
    return logits


def _draw(logits: Tensor, sampling: Sampling, generator: torch.Generator | None) -> int:
    # Subtracting the maximum first avoids overflow at low temperatures.
    chances = ((logits - logits.max()) / sampling.temperature).softmax(dim=0)
    if sampling.top_p < 1:
        ordered, order = chances.sort(descending=True, stable=True)
        beyond = order[ordered.cumsum(0) - ordered >= sampling.top_p]
        chances[beyond] = 0.0
    return int(torch.multinomial(chances, 1, generator=generator))


def _step(token: int, logits: Tensor, top: int, spelling: _Spelling) -> TokenStep:
    chances = logits.softmax(dim=0)
    best = logits.topk(min(top, len(logits))).indices.tolist()
    best.sort(key=lambda other: (-float(logits[other]), other))
    considered = tuple(
        Choice(other, text, float(chances[other]), rank, part)
        for rank, other in enumerate(best, 1)
        for text, part in [spelling.of(other)]
    )
    text, part = spelling.of(token)
    spelling.add(token)
    rank = 1 + int((logits > logits[token]).sum())
    return TokenStep(token, text, float(chances[token]), rank, part, considered)


class _Spelling:
    """The text that each token adds in its context.

    Decoded alone, a token may lose its leading space, and one character may take several tokens.
    So a token's text is the difference that it makes to the decoded text.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast, ids: Sequence[int]) -> None:
        self._tokenizer = tokenizer
        start = max(0, len(ids) - CONTEXT)
        while start and self._decode(ids[start:]).startswith(BROKEN):
            start -= 1
        self._known = list(ids[start:])
        self._written = self._decode(self._known)
        #: Tokens of an incomplete character.
        self._open: list[int] = []

    def of(self, token: int) -> tuple[str, bytes]:
        """Return the text that a token would add, or its bytes if they are part of a character."""
        whole = self._decode([*self._known, *self._open, token])
        if whole.endswith(BROKEN):
            return "", _bytes_of(self._tokenizer, token)
        if whole.startswith(self._written):
            return whole[len(self._written) :], b""
        return self._decode([token]), b""

    def add(self, token: int) -> None:
        """Append a token to the context."""
        self._open.append(token)
        whole = self._decode([*self._known, *self._open])
        if not whole.endswith(BROKEN):
            self._known += self._open
            self._written, self._open = whole, []

    def _decode(self, ids: Sequence[int]) -> str:
        return str(
            self._tokenizer.decode(
                list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False
            )
        )


def _bytes_of(tokenizer: PreTrainedTokenizerFast, token: int) -> bytes:
    """Return the bytes of a token that is part of a character; empty if unknown."""
    piece = str(tokenizer.convert_ids_to_tokens(token) or "")
    if re.fullmatch(r"<0x[0-9A-F]{2}>", piece):
        return bytes.fromhex(piece[3:5])
    table = _byte_characters()
    return bytes(table[c] for c in piece) if all(c in table for c in piece) else b""


@cache
def _byte_characters() -> dict[str, int]:
    """Return the bytes by their characters in byte-level tokenizers (GPT-2, 2019).

    Printable bytes map to themselves, all others to the characters from 256 on.
    """
    prints = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in prints]
    return {chr(byte): byte for byte in prints} | {
        chr(256 + place): byte for place, byte in enumerate(others)
    }
