"""Running text sampled from the model itself.

Unprompted samples resemble the training data more than any single corpus does, and need no network.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from alphaedit_core.errors import InputError

if TYPE_CHECKING:
    import torch

    from alphaedit_core.model.editable_model import EditableModel

_BATCH = 16


class ModelSamples:
    """Endless documents sampled from the model, starting from its first token.

    Random numbers are drawn on the CPU, so the device affects the text only by its rounding.

    Args:
        model: the model; it is not changed.
        tokens_per_document: maximum length of a document, in tokens.
        seed: random seed.
        temperature: sampling temperature; 1 for the model's own distribution.

    Raises:
        InputError: if a setting is out of range, or the tokenizer has no bos or eos token.
    """

    def __init__(
        self,
        model: EditableModel,
        tokens_per_document: int = 256,
        seed: int = 0,
        temperature: float = 1.0,
    ) -> None:
        window = getattr(model.model.config, "max_position_embeddings", None)
        if not 1 <= tokens_per_document <= (window or tokens_per_document):
            raise InputError(
                f"tokens_per_document: {tokens_per_document} is out of range; give 1 to the "
                f"model's {window or 'window'}"
            )
        if not temperature > 0:
            raise InputError(f"temperature: {temperature} is not positive; give a number > 0")
        self.model = model
        self.tokens_per_document = tokens_per_document
        self.seed = seed
        self.temperature = temperature
        self._start = _first_token(model.tokenizer)

    @property
    def name(self) -> str:
        """The name that :func:`.open_text` understands."""
        return "self"

    def checksum(self) -> str:
        """Return a digest of the model's identity and the settings; samples no text."""
        from alphaedit_core.model.identity import identity

        parts = [
            identity(self.model).key(),
            sorted(self.model.tokenizer.all_special_ids),
            self._start,
            self.tokens_per_document,
            self.seed,
            self.temperature,
            _BATCH,
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def documents(self) -> Iterator[str]:
        """Yield samples of the unedited model that are not blank, without end.

        Edits of a session are removed while a batch is sampled.

        Raises:
            InputError: if a whole batch of samples is blank.
            SessionError: if another thread uses the model, or its weights were changed outside its
                session.
        """
        import torch

        from alphaedit_core.model.identity import unedited

        generator = torch.Generator().manual_seed(self.seed)
        while True:
            with unedited(self.model):
                rows = self._sample(generator)
            texts = self.model.tokenizer.batch_decode(rows, skip_special_tokens=True)
            texts = [text for text in texts if text.strip()]
            if not texts:
                raise InputError('text "self": the model writes only blanks; use another text')
            yield from texts

    def _sample(self, generator: torch.Generator) -> list[list[int]]:
        """Return the token ids of one batch of documents, without first and end tokens."""
        import torch

        lm = self.model.model
        end = self.model.tokenizer.eos_token_id
        tokens = torch.full((_BATCH, 1), self._start, device=self.model.device)  # (batch, 1)
        sampled: list[torch.Tensor] = []
        ended = torch.zeros(_BATCH, dtype=torch.bool)
        past = None
        with torch.inference_mode():
            for _ in range(self.tokens_per_document):
                output = lm(input_ids=tokens, past_key_values=past, use_cache=True)
                past = output.past_key_values
                logits = output.logits[:, -1].float().cpu() / self.temperature  # (batch, vocab)
                if end is not None and not sampled:
                    logits[:, end] = -torch.inf  # a document has at least one token
                choice = torch.multinomial(logits.softmax(-1), 1, generator=generator)
                sampled.append(choice)
                if end is not None:
                    ended |= choice[:, 0] == end
                if bool(ended.all()):
                    break
                tokens = choice.to(self.model.device)
        rows = torch.cat(sampled, dim=1).tolist()
        return [row[: row.index(end)] if end in row else row for row in rows]

    def __repr__(self) -> str:
        return f"ModelSamples({self.model!r}, seed={self.seed})"


def _first_token(tokenizer: object) -> int:
    for name in ("bos_token_id", "eos_token_id"):
        token = getattr(tokenizer, name, None)
        if token is not None:
            return int(token)
    raise InputError(
        'text "self": the tokenizer has no bos or eos token to start from; use another text'
    )
