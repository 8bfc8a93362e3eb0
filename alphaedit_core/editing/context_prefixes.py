"""Contexts: short model-generated texts placed before a prompt, so that an edit generalizes.

See Meng et al. 2022, section 3.1. As in the released AlphaEdit code, one text of ten tokens is
sampled for each of five opening words. Here sampling is seeded and independent of the device, and
the texts are stored with the session.

If a tokenizer adds no special token at the start, a small model continues a single first word with
anything. Sampling therefore starts after the special token that best predicts the opening words.
The texts contain no special tokens.
"""

from __future__ import annotations

import json
import logging
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch

from alphaedit_core.editing.config import EditConfig
from alphaedit_core.errors import CorruptFileError
from alphaedit_core.model.editable_model import EditableModel
from alphaedit_core.model.forward import pad_rows, run_model, tap
from alphaedit_core.model.identity import unedited
from alphaedit_core.model.tokenization import encode
from alphaedit_core.storage.cache import cache_dir, contexts_dir
from alphaedit_core.storage.files import read_json, write_json_atomic

log = logging.getLogger(__name__)

#: Opening words; one text is sampled for each.
OPENINGS = ("The", "Therefore", "Because", "I", "You")


def own_contexts(model: EditableModel, seed: int, tokens: int = 10) -> tuple[str, ...]:
    """Return the texts of :func:`sample_contexts`, from the cache if the same model sampled them.

    A cached file that is damaged or belongs to another model is replaced. If the cache cannot be
    written, a warning is logged.

    Args:
        model: the model.
        seed: seed of the sampling.
        tokens: length of each text with its opening, in tokens.

    Raises:
        SessionError: as :func:`sample_contexts`.
    """
    with unedited(model) as identity:
        made_from = {
            "model": identity.key(),
            "special": sorted(model.tokenizer.all_special_ids),  # never sampled
            "seed": seed,
            "tokens": tokens,
        }
        name = blake2b(json.dumps(made_from, sort_keys=True).encode(), digest_size=8).hexdigest()
        try:
            return _cached(cache_dir() / "contexts" / f"{name}.json", made_from)
        except (FileNotFoundError, NotADirectoryError):
            pass
        except (OSError, CorruptFileError) as error:
            log.warning("%s; sampling again", error)
        sampled = sample_contexts(model, seed, tokens)
        content = made_from | {"contexts": list(sampled)}
        try:
            file = contexts_dir() / f"{name}.json"
            write_json_atomic(file, content | {"checksum": _checksum(content)})
        except OSError as error:
            log.warning("contexts are not cached, as the cache cannot be written: %s", error)
        return sampled


def _cached(file: Path, made_from: dict[str, Any]) -> tuple[str, ...]:
    """Return the texts of a cached file after checking them."""
    stored = read_json(file)
    if not isinstance(stored, dict) or stored.pop("checksum", None) != _checksum(stored):
        raise CorruptFileError(f"{file}: damaged")
    texts = stored.pop("contexts", None)
    if stored != made_from or not isinstance(texts, list) or len(texts) != len(OPENINGS):
        raise CorruptFileError(f"{file}: holds the contexts of another model or seed")
    return tuple(texts)


def _checksum(content: dict[str, Any]) -> str:
    return blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=16).hexdigest()


def sample_contexts(
    model: EditableModel, seed: int, tokens: int = 10, top_k: int = 5
) -> tuple[str, ...]:
    """Sample one short text per opening word from the unedited model.

    Args:
        model: the model; edits of a session are removed during sampling.
        seed: seed of the sampling.
        tokens: length of each text with its opening, in tokens, without special tokens.
        top_k: number of most likely tokens to sample from.

    Raises:
        SessionError: if another thread uses the model, or its weights were changed outside its
            session.
    """
    with unedited(model):
        return _sampled(model, seed, tokens, top_k)


@torch.no_grad()
def _sampled(model: EditableModel, seed: int, tokens: int, top_k: int) -> tuple[str, ...]:
    generator = torch.Generator().manual_seed(seed)
    special = set(model.tokenizer.all_special_ids)
    rows = [encode(model.tokenizer, opening)[0] for opening in OPENINGS]
    # A tokenizer may have special tokens without an embedding in the model.
    embeddings = model.model.get_input_embeddings().weight.shape[0]  # type: ignore[index]
    starts = sorted(token for token in special if token < embeddings)
    if starts and not special & {row[0] for row in rows}:
        start = _document_start(model, starts, [row[0] for row in rows])
        rows = [[start, *row] for row in rows]
    while any(_length(row, special) < tokens for row in rows):
        ids = pad_rows(rows, model.device)
        last = torch.tensor([len(row) - 1 for row in rows], device=model.device)
        logits = _logits_at(model, ids, last).cpu()
        logits[:, _never_sampled(model, special, logits.shape[1])] = -torch.inf
        top = logits.topk(top_k, dim=-1)
        choice = torch.multinomial(top.values.softmax(dim=-1), 1, generator=generator)
        for row, token in zip(rows, top.indices.gather(1, choice)[:, 0].tolist(), strict=True):
            if _length(row, special) < tokens:
                row.append(token)
    texts = (str(model.tokenizer.decode(row, skip_special_tokens=True)) for row in rows)
    return tuple(" ".join(text.split()) for text in texts)


def _never_sampled(model: EditableModel, special: set[int], vocabulary: int) -> list[int]:
    """Return the special tokens and the head's padding rows beyond the tokenizer's tokens."""
    padding = range(len(model.tokenizer), vocabulary)
    return [*(token for token in special if token < vocabulary), *padding]


def _document_start(model: EditableModel, starts: list[int], openings: list[int]) -> int:
    """Return the special token after which the openings' first tokens are jointly most likely."""
    ids = torch.tensor([[token] for token in starts], device=model.device)
    logits = _logits_at(model, ids, torch.zeros(len(starts), dtype=torch.long))
    joint = logits.log_softmax(dim=-1)[:, openings].sum(dim=1)
    return starts[int(joint.argmax())]


def _length(row: list[int], special: set[int]) -> int:
    return sum(token not in special for token in row)


def _logits_at(model: EditableModel, ids: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """Return the logits at one token of each row, (rows, vocabulary), float32."""
    out: list[torch.Tensor] = []

    def read(hidden: Any) -> None:
        out.append(hidden[torch.arange(len(ids), device=ids.device), index])

    with tap(model.architecture.norm, read, ids.numel()):
        run_model(model, ids)
    return model.architecture.logits(out[0])


def contexts_for(model: EditableModel, hp: EditConfig) -> tuple[str, ...]:
    """Return the contexts of a configuration, ``hp.contexts`` texts.

    Raises:
        SessionError: as :func:`sample_contexts`.
    """
    if hp.contexts == 0:
        return ()
    return own_contexts(model, hp.seed, hp.context_tokens)[: hp.contexts]
