"""Models that differ in one thing, and the statistics and edits that are kept for them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from examples import FACTS, quiet, small
from tiny import tiny_model, tiny_tokenizer

from alphaedit_core.covariance.collect import collect_statistics
from alphaedit_core.covariance.files import KeyStatistics
from alphaedit_core.model.editable_model import EditableModel
from alphaedit_core.session.session import EditSession

#: Those that statistics are collected of.
LAYERS = (0, 2)


def collect(model: EditableModel, text: Path, cache: bool = True) -> KeyStatistics:
    """Statistics of ``LAYERS``."""
    return collect_statistics(model, text, LAYERS, 1024, cache=cache, monitor=quiet())


def same(a: KeyStatistics, b: KeyStatistics) -> bool:
    """Whether two statistics have the same moments, to the bit."""
    return all(torch.equal(a[layer].moment, b[layer].moment) for layer in LAYERS)


def apart(a: KeyStatistics, b: KeyStatistics) -> float:
    """How far their first moments are apart, relative to the second."""
    return float((a[0].moment - b[0].moment).norm() / b[0].moment.norm())


def edited(text: Path, model: EditableModel, facts: int = 4) -> EditSession:
    """A session that has written so many of the examples."""
    session = EditSession(model, hyperparameters=small(text.parent), contexts=())
    session.edit(FACTS[:facts], monitor=quiet())
    return session


def other_tokenizer() -> EditableModel:
    """A model whose texts begin with ``<s>``."""
    return tiny_model("llama", tiny_tokenizer(bos=True), vocab_size=len(tiny_tokenizer()))


def other_end_of_text() -> EditableModel:
    """A model with another token at the end of a text."""
    tokenizer = tiny_tokenizer()
    tokenizer.eos_token = "<s>"
    return tiny_model("llama", tokenizer)


def other_angles() -> EditableModel:
    """A model with other rotary angles in its configuration."""
    return tiny_model("llama", rope_parameters={"rope_type": "default", "rope_theta": 77.0})


def other_buffer() -> EditableModel:
    """A model with other rotary angles in a buffer."""
    model = tiny_model("llama")
    model.model.model.rotary_emb.inv_freq.mul_(1.01)
    return model


def other_norm() -> EditableModel:
    """A model with another ε in its norms."""
    return tiny_model("llama", rms_norm_eps=0.5)


#: Each of them, the part of its identity that differs, and what is said of it.
others = pytest.mark.parametrize(
    ("other", "part", "words"),
    [
        (other_tokenizer, "tokenizer", "tokenizer"),
        (other_end_of_text, "tokenizer", "tokenizer"),
        (other_angles, "configuration", "rope_theta"),
        (other_buffer, "buffers", "model.rotary_emb.inv_freq"),
        (other_norm, "configuration", "rms_norm_eps 1e-06, here 0.5"),
    ],
)
