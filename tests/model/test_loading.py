"""Loading a model from a folder, and the packaged default."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny import expected_places, tiny_model

from alphaedit_core.errors import StructureError
from alphaedit_core.model.editable_model import EditableModel
from alphaedit_core.model.loading import load_model
from alphaedit_core.model.pretrained import resolve_device


def test_a_folder_gives_the_model_that_was_saved(saved: Path) -> None:
    original, loaded = tiny_model("llama"), load_model(saved, device="cpu")
    assert loaded.fingerprint == original.fingerprint
    assert loaded.architecture.places == expected_places("llama")
    assert loaded.tokenizer.get_vocab() == original.tokenizer.get_vocab()
    assert loaded.name == str(saved)
    assert not loaded.model.training
    assert not any(p.requires_grad for p in loaded.model.parameters())
    assert repr(loaded).startswith(f"EditableModel('{saved}', LlamaForCausalLM, 0M parameters, 3")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "float64"])
def test_the_requested_dtype(saved: Path, dtype: str) -> None:
    assert load_model(saved, device="cpu", dtype=dtype).dtype == getattr(torch, dtype)


def test_auto_takes_float32_on_the_cpu(tmp_path: Path) -> None:
    model = tiny_model("llama", dtype=torch.bfloat16)
    model.model.save_pretrained(tmp_path)
    model.tokenizer.save_pretrained(tmp_path)
    assert load_model(tmp_path, device="cpu").dtype == torch.float32


def test_auto_takes_the_first_available_device() -> None:
    found = resolve_device("auto").type
    if torch.cuda.is_available():
        assert found == "cuda"
    else:
        assert found == ("mps" if torch.backends.mps.is_available() else "cpu")


def test_places_given_by_hand_are_used_and_checked(saved: Path) -> None:
    places = expected_places("llama")
    assert load_model(saved, device="cpu", places=places).architecture.places == places
    wrong = expected_places("gpt2")
    with pytest.raises(StructureError, match=r'no module "transformer\.h"'):
        load_model(saved, device="cpu", places=wrong)


def test_the_packaged_default(default_model: EditableModel) -> None:
    assert default_model.name == "smollm2-135m"
    assert (default_model.layers, default_model.architecture.hidden_size) == (30, 576)
    assert default_model.architecture.inner_size == 1536
    text = "The capital of France is"
    ids = default_model.tokenizer(text, return_tensors="pt").input_ids.to(default_model.device)
    with torch.no_grad():
        best = int(default_model.model(input_ids=ids).logits[0, -1].argmax())
    assert default_model.tokenizer.decode(best) == " Paris"
