"""Contexts: short texts of the model's own to stand before a prompt, so that an edit generalizes.

Meng et al. 2022 (ROME), section 3.1; the released AlphaEdit code samples one text of ten tokens
from each of five opening words. Here the sampling is seeded and independent of the device's
generator, and the texts are kept with the session.

Some tokenizers begin a text with no special token, and a small model then goes on from a lone first
word with anything. So the sampling starts where a document starts: after the special token that
best predicts the opening words. No special token stays in the texts.
"""

from __future__ import annotations

import json
import logging
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch

from alphaedit_core.editing.config import EditConfig
from alphaedit_core.errors import (
    CorruptFileError,
)
from alphaedit_core.model.editable_model import EditableModel
from alphaedit_core.model.forward import pad_rows, run_model, tap
from alphaedit_core.model.identity import unedited
from alphaedit_core.model.tokenization import encode
from alphaedit_core.storage.cache import cache_dir, contexts_dir
from alphaedit_core.storage.files import read_json, write_json_atomic

log = logging.getLogger(__name__)

#: One text is sampled from each of these.
OPENINGS = ("The", "Therefore", "Because", "I", "You")


def own_contexts(model: EditableModel, seed: int, tokens: int = 10) -> tuple[str, ...]:
    """:func:`sample_contexts`, from the cache where the very same model wrote them before.

    A file that is damaged, or was made otherwise, is made again; a cache that cannot be written to
    costs only the time to sample them again.

    Raises:
        SessionError: as :func:`sample_contexts`.
    """
    with unedited(model) as now:
        made_from = {
            "model": now.key(),
            "special": sorted(model.tokenizer.all_special_ids),  # what pads too is not written
            "seed": seed,
            "tokens": tokens,
        }
        name = blake2b(json.dumps(made_from, sort_keys=True).encode(), digest_size=8).hexdigest()
        try:
            return _kept(cache_dir() / "contexts" / f"{name}.json", made_from)
        except (FileNotFoundError, NotADirectoryError):
            pass
        except (OSError, CorruptFileError) as error:
            log.warning("%s; sampled again", error)
        sampled = sample_contexts(model, seed, tokens)
        content = made_from | {"contexts": list(sampled)}
        try:
            file = contexts_dir() / f"{name}.json"
            write_json_atomic(file, content | {"checksum": _checksum(content)})
        except OSError as error:
            log.warning("contexts are not kept, the cache cannot be written: %s", error)
        return sampled


def _kept(place: Path, made_from: dict[str, Any]) -> tuple[str, ...]:
    """The texts of a file of the cache, checked."""
    stored = read_json(place)
    if not isinstance(stored, dict) or stored.pop("checksum", None) != _checksum(stored):
        raise CorruptFileError(f"{place}: damaged")
    texts = stored.pop("contexts", None)
    if stored != made_from or not isinstance(texts, list) or len(texts) != len(OPENINGS):
        raise CorruptFileError(f"{place}: holds the contexts of something else")
    return tuple(texts)


def _checksum(content: dict[str, Any]) -> str:
    return blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=16).hexdigest()


def sample_contexts(
    model: EditableModel, seed: int, tokens: int = 10, top_k: int = 5
) -> tuple[str, ...]:
    """One short text of the model's own per opening word, whatever a session has written into it.

    Args:
        model: the model.
        seed: seed of the sampling.
        tokens: length of each text with its opening, in tokens; special tokens do not count.
        top_k: sampled among so many most likely tokens.

    Raises:
        SessionError: if another thread uses the model, or its weights were changed by hand since a
            session took it.
    """
    with unedited(model):
        return _sampled(model, seed, tokens, top_k)


@torch.no_grad()
def _sampled(model: EditableModel, seed: int, tokens: int, top_k: int) -> tuple[str, ...]:
    generator = torch.Generator().manual_seed(seed)
    special = set(model.tokenizer.all_special_ids)
    rows = [encode(model.tokenizer, opening)[0] for opening in OPENINGS]
    # A tokenizer may know special tokens that the model has no embedding of.
    known = model.model.get_input_embeddings().weight.shape[0]  # type: ignore[index]
    starts = sorted(token for token in special if token < known)
    if starts and not special & {row[0] for row in rows}:
        start = _document_start(model, starts, [row[0] for row in rows])
        rows = [[start, *row] for row in rows]
    while any(_length(row, special) < tokens for row in rows):
        ids = pad_rows(rows, model.device)
        last = torch.tensor([len(row) - 1 for row in rows], device=model.device)
        logits = _logits_at(model, ids, last).cpu()
        logits[:, _unwritable(model, special, logits.shape[1])] = -torch.inf
        best = logits.topk(top_k, dim=-1)
        choice = torch.multinomial(best.values.softmax(dim=-1), 1, generator=generator)
        for row, token in zip(rows, best.indices.gather(1, choice)[:, 0].tolist(), strict=True):
            if _length(row, special) < tokens:
                row.append(token)
    texts = (str(model.tokenizer.decode(row, skip_special_tokens=True)) for row in rows)
    return tuple(" ".join(text.split()) for text in texts)


def _unwritable(model: EditableModel, special: set[int], vocabulary: int) -> list[int]:
    """Special tokens, and rows of the head beyond the tokenizer's tokens, which pad it."""
    padding = range(len(model.tokenizer), vocabulary)
    return [*(token for token in special if token < vocabulary), *padding]


def _document_start(model: EditableModel, starts: list[int], openings: list[int]) -> int:
    """The special token after which the openings' first tokens are most likely together."""
    ids = torch.tensor([[token] for token in starts], device=model.device)
    logits = _logits_at(model, ids, torch.zeros(len(starts), dtype=torch.long))
    fit = logits.log_softmax(dim=-1)[:, openings].sum(dim=1)
    return starts[int(fit.argmax())]


def _length(row: list[int], special: set[int]) -> int:
    return sum(token not in special for token in row)


def _logits_at(model: EditableModel, ids: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """Logits (rows, vocabulary), float32, at one token of each row."""
    out: list[torch.Tensor] = []

    def read(hidden: Any) -> None:
        out.append(hidden[torch.arange(len(ids), device=ids.device), index])

    with tap(model.architecture.norm, read, ids.numel()):
        run_model(model, ids)
    return model.architecture.logits(out[0])


def _own_contexts(model: EditableModel, hp: EditConfig) -> tuple[str, ...]:
    """Contexts of the model's own, as many as wanted."""
    if hp.contexts == 0:
        return ()
    return own_contexts(model, hp.seed, hp.context_tokens)[: hp.contexts]
