"""Keys and states at the subjects' last tokens, compared with full forward passes."""

from __future__ import annotations

import threading

import pytest
import torch
from tiny import KINDS, tiny_model, tiny_tokenizer
from torch import Tensor

from alphaedit_core.data.facts import Fact
from alphaedit_core.editing.subject_keys import SubjectStates
from alphaedit_core.errors import Canceled
from alphaedit_core.model.batch_planning import BatchPlan
from alphaedit_core.model.editable_model import EditableModel
from alphaedit_core.model.tokenization import TokenizedFact, TokenRow, prepare
from alphaedit_core.progress import Monitor

quiet = Monitor(show=None)
FACTS = [
    Fact("Eiffel Tower", "The {} is located in the city of", "Rome"),
    Fact("Rome", "{} is the capital of", "Germany"),
    Fact("Isaac Newton", "You and I know that mechanics is named after {} because he", "Berlin"),
    Fact("東京", "首都は{}", "Paris"),
]
CONTEXTS = ("The city of Rome is old", "Because")


def plain(model: EditableModel, row: TokenRow, layer: int, last: int) -> tuple[Tensor, Tensor]:
    """Key at ``layer`` and output of block ``last`` at the subject, from the whole prompt alone."""
    keys: list[Tensor] = []
    outputs: list[Tensor] = []

    def note_output(_module: object, _args: object, out: Tensor | tuple[Tensor, ...]) -> None:
        outputs.append(out[0] if isinstance(out, tuple) else out)

    hooks = [
        model.architecture.down_projections[layer].register_forward_pre_hook(
            lambda _module, args: keys.append(args[0].reshape(len(row.ids), -1))
        ),
        model.architecture.blocks[last].register_forward_hook(note_output),
    ]
    with torch.no_grad():
        model.model(input_ids=torch.tensor([row.ids]), use_cache=False)
    for hook in hooks:
        hook.remove()
    return keys[0][row.subject], outputs[0][0, row.subject]


def expected(
    model: EditableModel, requests: list[TokenizedFact], layer: int, last: int
) -> tuple[Tensor, Tensor]:
    keys, states = [], []
    for request in requests:
        own = [plain(model, row, layer, last) for row in request.rows]
        others = [key for key, _ in own[1:] or own]
        keys.append(0.5 * own[0][0] + 0.5 * sum(others) / len(others))
        states.append(own[0][1])
    return torch.stack(keys).T, torch.stack(states)


@pytest.mark.parametrize(
    ("layout", "tokens"), [("llama", 4), *((layout, 1024) for layout in KINDS)]
)
def test_keys_and_states_under_weight_changes(layout: str, tokens: int) -> None:
    model = tiny_model(layout)
    layers = [0, 2]
    requests = prepare(model, FACTS, CONTEXTS, last_layer=2)
    states = SubjectStates(model, requests, layers, BatchPlan(tokens), quiet)
    for layer in layers:
        keys, outputs = states.read(layer)[:2]
        wanted_keys, wanted_outputs = expected(model, requests, layer, 2)
        torch.testing.assert_close(keys, wanted_keys, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(outputs, wanted_outputs, rtol=1e-4, atol=1e-4)
        matrix = model.architecture.matrix(layer)
        matrix += torch.randn(matrix.shape) / 3
    torch.testing.assert_close(
        states.end().state, expected(model, requests, 2, 2)[1], rtol=1e-4, atol=1e-4
    )
    assert not torch.allclose(states.end().state, outputs, rtol=1e-2)


def test_layers_may_be_skipped() -> None:
    model = tiny_model("llama", num_hidden_layers=6)
    requests = prepare(model, FACTS, (), last_layer=3)
    states = SubjectStates(model, requests, [1, 3], BatchPlan(256), quiet)
    for layer in (1, 3):
        keys, outputs = states.read(layer)[:2]
        wanted_keys, wanted_outputs = expected(model, requests, layer, 3)
        torch.testing.assert_close(keys, wanted_keys, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(outputs, wanted_outputs, rtol=1e-4, atol=1e-4)


def test_bare_prompt_weighs_one_half() -> None:
    model = tiny_model("llama")
    (request,) = prepare(model, FACTS[:1], CONTEXTS, last_layer=1)
    keys = SubjectStates(model, [request], [1], BatchPlan(256), quiet).read(1).keys
    own = torch.stack([plain(model, row, 1, 1)[0] for row in request.rows])
    weights = torch.tensor([1 / 2, 1 / 4, 1 / 4])
    torch.testing.assert_close(keys[:, 0], weights @ own, rtol=1e-4, atol=1e-5)
    (bare,) = prepare(model, FACTS[:1], (), last_layer=1)
    alone = SubjectStates(model, [bare], [1], BatchPlan(256), quiet).read(1).keys
    torch.testing.assert_close(alone[:, 0], own[0], rtol=1e-4, atol=1e-5)


def test_shapes_and_dtypes() -> None:
    model = tiny_model("gpt2", dtype=torch.bfloat16)
    requests = prepare(model, FACTS, CONTEXTS, last_layer=1)
    keys, states = SubjectStates(model, requests, [1], BatchPlan(64), quiet).read(1)[:2]
    assert keys.shape == (48, 4) and states.shape == (4, 32)
    assert keys.dtype == states.dtype == torch.float32
    wide = tiny_model("gpt2", dtype=torch.float64)
    keys, states = SubjectStates(wide, requests, [1], BatchPlan(64), quiet).read(1)[:2]
    assert keys.dtype == states.dtype == torch.float64


@pytest.mark.parametrize("layout", ["gpt2", "opt"])
def test_padding_side_does_not_change_keys(layout: str) -> None:
    found = []
    for side in ("left", "right"):
        model = tiny_model(layout, tiny_tokenizer(padding_side=side))
        requests = prepare(model, FACTS, CONTEXTS, last_layer=1)
        states = SubjectStates(model, requests, [0, 1], BatchPlan(256), quiet)
        found.append((*states.read(0), *states.read(1), *states.end()))
    assert all(torch.equal(left, right) for left, right in zip(*found, strict=True))


def test_can_be_canceled() -> None:
    model = tiny_model("llama")
    requests = prepare(model, FACTS, (), last_layer=1)
    event = threading.Event()
    states = SubjectStates(model, requests, [0, 1], BatchPlan(64), Monitor(None, event))
    event.set()
    with pytest.raises(Canceled):
        states.read(0)
    with pytest.raises(Canceled):
        SubjectStates(model, requests, [0, 1], BatchPlan(64), Monitor(None, event))
    assert not any(
        block._forward_hooks or block._forward_pre_hooks for block in model.architecture.blocks
    )
    assert not any(down._forward_pre_hooks for down in model.architecture.down_projections)
