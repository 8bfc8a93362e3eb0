"""Finding the modules of a model by its structure, for every layout, and refusals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from tiny import (
    BLOCKS,
    HIDDEN,
    INNER,
    LAYOUTS,
    WINDOW,
    expected_places,
    tiny_language_model,
    tiny_model,
)
from torch import Tensor, nn
from transformers import PretrainedConfig
from transformers.pytorch_utils import Conv1D

from alphaedit_core.errors import StructureError
from alphaedit_core.model.architecture import ModulePaths, find_architecture
from alphaedit_core.model.editable_model import EditableModel

BY_HAND = 'give the module paths: load_model(..., places=ModulePaths(blocks="'


def logits(model: EditableModel) -> Tensor:
    with torch.no_grad():
        return model.model(input_ids=torch.arange(3, 9)[None], use_cache=False).logits


@pytest.mark.parametrize("layout", LAYOUTS)
def test_parts_are_found(layout: str) -> None:
    model = tiny_model(layout)
    architecture = model.architecture
    assert architecture.places == expected_places(layout)
    assert (model.layers, architecture.hidden_size, architecture.inner_size) == (
        BLOCKS,
        HIDDEN,
        INNER,
    )
    assert architecture.head is model.model.get_output_embeddings()
    state = model.model.state_dict()
    for layer in range(BLOCKS):
        stored = state[architecture.weight_name(layer)]
        assert stored.data_ptr() == architecture.matrix(layer).data_ptr()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_matrix_is_a_view_and_its_input_is_the_key(layout: str) -> None:
    model = tiny_model(layout)
    seen: list[tuple[Tensor, Tensor]] = []
    module = model.architecture.down_projections[1]
    hook = module.register_forward_hook(lambda _, args, out: seen.append((args[0], out)))
    before = logits(model)
    hook.remove()
    ((key, value),) = seen
    matrix = model.architecture.matrix(1)
    assert matrix.shape == (HIDDEN, INNER)
    bias = getattr(module, "bias", None)
    expected = key @ matrix.T + (0 if bias is None else bias)
    torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-5)
    matrix[3] += 1.0  # a whole row: some keys of one position are zero everywhere
    assert not torch.equal(logits(model), before)
    matrix.copy_(torch.zeros(HIDDEN, INNER))
    assert float(module.weight.abs().sum()) == 0.0


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_logits_of_the_last_blocks_output(layout: str, dtype: torch.dtype) -> None:
    model = tiny_model(layout, dtype=dtype)
    outputs: list[Any] = []
    hook = model.architecture.blocks[-1].register_forward_hook(
        lambda _m, _a, out: outputs.append(out)
    )
    expected = logits(model)
    hook.remove()
    hidden = outputs[0][0] if isinstance(outputs[0], tuple) else outputs[0]
    found = model.architecture.logits(hidden)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected.float(), rtol=2e-2, atol=2e-2)
    assert torch.equal(found.argmax(-1), expected.argmax(-1)) or dtype == torch.bfloat16


def test_cap_and_scale_of_the_logits_are_read() -> None:
    assert tiny_model("gemma2").architecture.softcap == 2.0
    assert float(logits(tiny_model("gemma2")).abs().max()) > 1.0  # the cap bends them
    assert tiny_model("granite").architecture.logit_scale == 0.25
    assert tiny_model("llama").architecture.softcap is None


def test_gpt2_stores_the_transpose() -> None:
    model = tiny_model("gpt2")
    assert isinstance(model.architecture.down_projections[0], Conv1D)
    assert model.architecture.down_projections[0].weight.shape == (INNER, HIDDEN)


@pytest.mark.parametrize(
    ("layout", "field"),
    [
        ("llama-all-heads", "intermediate_size"),
        ("gpt2", "n_inner"),
        ("phi", "intermediate_size"),
        ("phi3", "intermediate_size"),
        ("opt", "ffn_dim"),
    ],
)
def test_an_inner_width_equal_to_the_hidden_size(layout: str, field: str) -> None:
    model = tiny_model(layout, **{field: HIDDEN})
    assert model.architecture.places == expected_places(layout)
    assert model.architecture.inner_size == HIDDEN


# --------------------------------------------------------------------------------- custom models


class BareBlock(nn.Module):
    """A block with unusual names, whose attention matrices have no module of their own."""

    def __init__(self, inner: int) -> None:
        super().__init__()
        self.out_first = nn.Linear(inner, 16)  # defined before the up-projection
        self.q, self.k, self.v, self.o = (nn.Linear(16, 16) for _ in range(4))
        self.inwards = nn.Linear(16, inner)

    def mix(self, hidden: Tensor) -> Tensor:
        scores = self.q(hidden) @ self.k(hidden).transpose(1, 2)
        mask = torch.ones_like(scores).tril() == 0
        hidden = hidden + self.o(scores.masked_fill(mask, -1e9).softmax(-1) @ self.v(hidden))
        return hidden + self.out_first(torch.relu(self.inwards(hidden)))

    def forward(self, hidden: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        return self.mix(hidden)


class BlockWithoutMask(BareBlock):
    def forward(self, hidden: Tensor) -> Tensor:  # type: ignore[override]
        return self.mix(hidden)


class BareModel(nn.Module):
    """A minimal language model of blocks that a test supplies."""

    def __init__(self, block: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.config = PretrainedConfig(vocab_size=40)
        self.embed = nn.Embedding(40, 16)
        self.steps = nn.ModuleList([block(), block()])
        self.last_norm = nn.LayerNorm(16)
        self.to_words = nn.Linear(16, 40)
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.3)

    def get_input_embeddings(self) -> nn.Module:
        return self.embed

    def get_output_embeddings(self) -> nn.Module:
        return self.to_words

    def forward(self, input_ids: Tensor, use_cache: bool = False) -> Any:
        hidden = self.embed(input_ids)
        for step in self.steps:
            hidden = step(hidden)
        result = type("Output", (), {})()
        result.logits = self.to_words(self.last_norm(hidden))
        return result


PLACES_OF_BARE = ModulePaths("steps", "out_first", "last_norm", "to_words")


@pytest.mark.parametrize("inner", [24, 8])
def test_square_attention_matrices_are_not_taken_for_the_mlp(inner: int) -> None:
    assert find_architecture(BareModel(lambda: BareBlock(inner))).places == PLACES_OF_BARE


def test_the_square_matrix_that_runs_last_is_the_down_projection() -> None:
    class Mlp(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.second, self.first = nn.Linear(16, 16), nn.Linear(16, 16)

        def forward(self, hidden: Tensor, attention_mask: Tensor | None = None) -> Tensor:
            return hidden + self.second(torch.relu(self.first(hidden)))

    places = find_architecture(BareModel(Mlp)).places
    assert places == replace(PLACES_OF_BARE, down_projection="second")


def test_two_mlps_in_one_block_are_refused() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Sequential(nn.Linear(16, 24), nn.ReLU(), nn.Linear(24, 16))
            self.b = nn.Sequential(nn.Linear(16, 24), nn.ReLU(), nn.Linear(24, 16))

        def forward(self, hidden: Tensor, attention_mask: Tensor | None = None) -> Tensor:
            return self.b(self.a(hidden))

    with pytest.raises(StructureError, match=r"saw a\.0 16->24, a\.2 24->16, b\.0") as caught:
        find_architecture(BareModel(Two))
    assert BY_HAND in str(caught.value)
    found = find_architecture(BareModel(Two), replace(PLACES_OF_BARE, down_projection="b.2"))
    assert found.inner_size == 24


def test_an_unknown_structure_is_refused_unless_paths_are_given() -> None:
    model = BareModel(lambda: BlockWithoutMask(24))
    with pytest.raises(StructureError) as caught:
        find_architecture(model)
    message = str(caught.value)
    assert "no blocks found in a BareModel: looked for a ModuleList" in message
    assert BY_HAND in message and "\n" not in message
    found = find_architecture(model, PLACES_OF_BARE)
    assert found.down_projections == tuple(step.out_first for step in model.steps)
    assert (found.hidden_size, found.inner_size) == (16, 24)


EXPERTS = {
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "hidden_size": 32,
    "intermediate_size": 48,
    "moe_intermediate_size": 16,
    "vocab_size": 40,
    "max_position_embeddings": WINDOW,
}


@pytest.mark.parametrize(
    ("config_class", "fields"),
    [
        ("MixtralConfig", {"num_local_experts": 3}),
        # A shared expert has a single matrix, which is not the whole MLP of the block.
        ("Qwen2MoeConfig", {"num_experts": 4, "shared_expert_intermediate_size": 48}),
        # Experts start at the second block; the first one alone looks like a Llama block.
        (
            "Qwen3MoeConfig",
            {"num_experts": 4, "mlp_only_layers": [0], "head_dim": 8},
        ),
    ],
)
def test_experts_are_refused(config_class: str, fields: dict[str, Any]) -> None:
    model = tiny_language_model(config_class, EXPERTS | fields)
    with pytest.raises(StructureError) as caught:
        find_architecture(model)
    message = str(caught.value)
    assert "looked outside the attention for one matrix f -> 32 with a partner 32 -> f" in message
    assert "and experts, which are not supported" in message
    assert BY_HAND in message and "\n" not in message


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"norm": "model.layers.0.input_layernorm"}, "do not give the logits"),
        ({"norm": "model.layers"}, "do not give the logits"),
        ({"head": "model.layers.0.mlp.up_proj"}, "do not give the logits"),
        ({"head": "model.embed_tokens"}, "do not give the logits"),
        ({"norm": "model.nrom"}, 'no module "model.nrom" in a LlamaForCausalLM'),
        ({"blocks": "model.norm"}, '"model.norm" holds no blocks'),
        ({"blocks": "model"}, 'no module "mlp.down_proj" in a Embedding'),
        ({"down_projection": "mlp"}, '"mlp" of block 0 is a LlamaMLP, not a Linear or Conv1D'),
        ({"down_projection": "mlp.up_proj"}, "leads from 32 to 48, not from 32 to the width"),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_wrong_places_are_noticed(
    change: dict[str, str], complaint: str, dtype: torch.dtype
) -> None:
    model = tiny_model("llama", dtype=dtype).model
    with pytest.raises(StructureError) as caught:
        find_architecture(model, replace(expected_places("llama"), **change))
    assert complaint in str(caught.value) and BY_HAND in str(caught.value)


def test_an_integer_matrix_is_refused() -> None:
    model = tiny_model("llama").model
    module = model.model.layers[1].mlp.down_proj
    module.weight = nn.Parameter(torch.zeros(32, 48, dtype=torch.int8), requires_grad=False)
    with pytest.raises(StructureError, match="block 1 is a Linear, not a Linear or Conv1D with a"):
        find_architecture(model)
