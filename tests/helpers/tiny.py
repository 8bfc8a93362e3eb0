"""Tiny random models of every layout, and tokenizers of every kind, made on the spot.

All weights are random, the norms' too: a norm that is left out or taken for another then shows.
"""

from __future__ import annotations

import contextlib
import copy
import json
import random
from functools import cache
from typing import Any, Literal

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from alphaedit_core.errors import StructureError
from alphaedit_core.model.architecture import ModulePaths
from alphaedit_core.model.editable_model import EditableModel
from alphaedit_core.model.loading import wrap
from alphaedit_core.model.ownership import ownership_of
from alphaedit_core.model.packing_check import may_pack
from alphaedit_core.progress import Monitor

HIDDEN, INNER, BLOCKS, WINDOW = 32, 48, 3, 64

CORPUS = (
    "The Eiffel Tower is located in the city of Paris, and the Louvre stands there too.",
    "Rome is the capital of Italy. The city of Rome is old, and Italy is in Europe.",
    "Isaac Newton was born in England; Newtonian mechanics is named after Newton.",
    "Therefore the capital of France is Paris, because the government sits in Paris.",
    "You and I know that Berlin is the capital of Germany and that Tokyo is in Japan.",
    "東京は日本の首都です。京都は古い都です。",
)
#: Words that are to be one token, or few.
_FREQUENT = ("Newton", " Newton", "Rome", " Rome", "東京", "京都", "日本", "首都", "は", "の")

_SHAPE = {"num_hidden_layers": BLOCKS, "num_attention_heads": 4, "hidden_size": HIDDEN}
_WIDE = {**_SHAPE, "intermediate_size": INNER, "max_position_embeddings": WINDOW}
_SHARED = {**_WIDE, "num_key_value_heads": 2}
_SLIDING = {**_SHARED, "head_dim": 8, "sliding_window": 8}
_GPT = {"n_layer": BLOCKS, "n_head": 4, "n_embd": HIDDEN, "n_inner": INNER, "n_positions": WINDOW}

_LLAMA_PLACES = ModulePaths("model.layers", "mlp.down_proj", "model.norm", "lm_head")

#: Layout: (configuration class, its fields, where the parts are).
_LAYOUTS: dict[str, tuple[str, dict[str, Any], ModulePaths]] = {
    "gpt2": (
        "GPT2Config",
        _GPT,
        ModulePaths("transformer.h", "mlp.c_proj", "transformer.ln_f", "lm_head"),
    ),
    "gptj": (
        "GPTJConfig",
        {**_GPT, "rotary_dim": 4},
        ModulePaths("transformer.h", "mlp.fc_out", "transformer.ln_f", "lm_head"),
    ),
    "llama": ("LlamaConfig", _SHARED, _LLAMA_PLACES),
    "llama-all-heads": ("LlamaConfig", {**_WIDE, "num_key_value_heads": 4}, _LLAMA_PLACES),
    "qwen2": ("Qwen2Config", _SHARED, _LLAMA_PLACES),
    "qwen3": ("Qwen3Config", {**_SHARED, "head_dim": 8}, _LLAMA_PLACES),
    "mistral": ("MistralConfig", {**_SHARED, "sliding_window": 8}, _LLAMA_PLACES),
    "gemma": ("GemmaConfig", {**_SHARED, "head_dim": 8}, _LLAMA_PLACES),
    "gemma2": ("Gemma2Config", {**_SLIDING, "final_logit_softcapping": 2.0}, _LLAMA_PLACES),
    "gemma3": (
        "Gemma3TextConfig",
        {**_SLIDING, "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]},
        _LLAMA_PLACES,
    ),
    "phi": (
        "PhiConfig",
        _WIDE,
        ModulePaths("model.layers", "mlp.fc2", "model.final_layernorm", "lm_head"),
    ),
    "phi3": ("Phi3Config", _SHARED, _LLAMA_PLACES),
    "neox": (
        "GPTNeoXConfig",
        _WIDE,
        ModulePaths("gpt_neox.layers", "mlp.dense_4h_to_h", "gpt_neox.final_layer_norm", "lm_head"),
    ),
    "opt": (
        "OPTConfig",
        {**_SHAPE, "ffn_dim": INNER, "max_position_embeddings": WINDOW, "word_embed_proj_dim": 32},
        ModulePaths("model.decoder.layers", "fc2", "model.decoder.final_layer_norm", "lm_head"),
    ),
    "granite": ("GraniteConfig", {**_SHARED, "logits_scaling": 4.0}, _LLAMA_PLACES),
}

LAYOUTS = tuple(_LAYOUTS)
#: One of each kind that computes differently: Conv1D, grouped heads, sliding windows with norms
#: after the MLP, parallel attention and MLP, keys that come without a dimension for rows.
KINDS = ("gpt2", "llama", "gemma3", "neox", "opt")


def expected_places(layout: str) -> ModulePaths:
    """Where the parts of a layout are."""
    return _LAYOUTS[layout][2]


def tiny_language_model(config_class: str, fields: dict[str, Any], seed: int = 0) -> Any:
    """A transformers model, float32, from a configuration, every parameter random."""
    fields = {"pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0} | fields
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(getattr(transformers, config_class)(**fields))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.15)
    return model


def tiny_model(
    layout: str = "llama",
    tokenizer: PreTrainedTokenizerFast | None = None,
    *,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    **changes: Any,
) -> EditableModel:
    """An editable model of a layout; equal arguments give equal weights.

    A model with the default tokenizer is built and checked once per process; each call returns a
    copy of its own.

    Args:
        layout: one of ``LAYOUTS``.
        tokenizer: None for ``tiny_tokenizer()``.
        seed: of the weights.
        dtype: of the weights.
        changes: fields of the configuration to set otherwise.
    """
    if tokenizer is not None:
        return _built(layout, tokenizer, seed, dtype, changes)
    key = repr((layout, seed, dtype, sorted(changes.items())))
    if key not in _originals:
        model = _built(layout, tiny_tokenizer(), seed, dtype, changes)
        random_state = torch.get_rng_state()
        with contextlib.suppress(StructureError):  # raised again by the copy's first edit
            may_pack(model, Monitor(show=None))
        _originals[key] = model, random_state
    original, random_state = _originals[key]
    torch.set_rng_state(random_state)  # as after building
    model, architecture = copy.deepcopy((original.model, original.architecture))
    ownership = ownership_of(model, architecture)
    copied = EditableModel(model, tiny_tokenizer(), architecture, original.name, ownership)
    copied._test_results.update(original._test_results)
    ownership.wraps.add(copied)
    return copied


#: Models and the state of torch's random numbers after building them, by arguments.
_originals: dict[str, tuple[EditableModel, Tensor]] = {}


def _built(
    layout: str,
    tokenizer: PreTrainedTokenizerFast,
    seed: int,
    dtype: torch.dtype,
    changes: dict[str, Any],
) -> EditableModel:
    config_class, fields, _ = _LAYOUTS[layout]
    fields = {"vocab_size": len(tokenizer)} | fields | changes
    model = tiny_language_model(config_class, fields, seed)
    return wrap(model.to(dtype), tokenizer, f"tiny {layout}")


def tiny_tokenizer(
    kind: Literal["bytes", "pieces"] = "bytes",
    *,
    bos: bool = False,
    closing: bool = False,
    padding_side: str = "right",
) -> PreTrainedTokenizerFast:
    """A tokenizer that knows ``CORPUS``.

    Args:
        kind: ``bytes`` is byte-level BPE (GPT-2, Llama-3, Qwen), where a space belongs to the
            word after it and nothing is put before a text; ``pieces`` is the SentencePiece way
            (Llama-2, Mistral, Phi-3): words begin with "▁", which every text is given too, and
            characters that are not known fall back to bytes.
        bos: whether every text begins with ``<s>``.
        closing: whether every text ends with ``</s>``.
        padding_side: what batches would be padded on.
    """
    tokenizer = Tokenizer.from_str(_trained(kind))
    start, end = ("<s> " if bos else ""), (" </s>" if closing else "")
    if start or end:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{start}$A{end}",
            special_tokens=[(t, tokenizer.token_to_id(t)) for t in ("<s>", "</s>")],
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>" if bos else None,
        eos_token="</s>",
        pad_token="<pad>",
        padding_side=padding_side,
    )


@cache
def _trained(kind: str) -> str:
    tokenizer = Tokenizer(models.BPE())
    special = ["<pad>", "<s>", "</s>"]
    if kind == "bytes":
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        tokenizer.decoder = decoders.Sequence(
            [decoders.ByteFallback(), decoders.Metaspace(), decoders.Fuse()]
        )
        alphabet = []
        special += [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=520,
        min_frequency=2,
        special_tokens=special,
        initial_alphabet=alphabet,
        show_progress=False,
    )
    tokenizer.train_from_iterator([*CORPUS, *_FREQUENT * 20], trainer)
    if kind == "bytes":
        return tokenizer.to_str()
    # The trainer has no way to say it: the bytes are ordinary tokens, used where all else fails.
    written = json.loads(tokenizer.to_str())
    written["model"]["byte_fallback"] = True
    written["added_tokens"] = written["added_tokens"][:3]
    return json.dumps(written)


def prose(words: int, seed: int = 0) -> str:
    """Words of ``CORPUS`` in random order."""
    return " ".join(random.Random(seed).choices(" ".join(CORPUS).split(), k=words))
