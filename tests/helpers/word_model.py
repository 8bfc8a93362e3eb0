"""A tiny random model that reads and writes words of its own."""

from __future__ import annotations

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from alphaedit_core.model.editable_model import EditableModel
from alphaedit_core.model.loading import wrap

#: Its vocabulary.
WORDS = ["<s>", "</s>", *(f"w{n}" for n in range(30))]


def word_model(seed: int = 0, special: list[str] | None = None, **marks: str) -> EditableModel:
    """A random two-block Llama with a vocabulary of 32 words."""
    words = Tokenizer(models.WordLevel({word: n for n, word in enumerate(WORDS)}, unk_token="w0"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    marks = marks or {"bos_token": "<s>", "eos_token": "</s>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, **marks)
    if special:
        tokenizer.add_special_tokens({"additional_special_tokens": special})
    config = LlamaConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=512,
        initializer_range=0.5,
    )
    torch.manual_seed(seed)
    return wrap(LlamaForCausalLM(config), tokenizer, "tiny")
