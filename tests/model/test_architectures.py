"""Models with unusual block calls, attention or residuals: edited correctly or refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from configs import config_of
from examples import FACTS, outputs, quiet, requests_of, small
from tiny import BLOCKS, HIDDEN, INNER, WINDOW, tiny_language_model, tiny_model, tiny_tokenizer
from torch import Tensor
from torch.nn import functional as F

from alphaedit_core.editing.batch import LayerSpace, write_batch
from alphaedit_core.editing.closed_form import PreviousKeys
from alphaedit_core.editing.edited_weights import EditedWeights
from alphaedit_core.editing.editors.alphaedit import AlphaEditConfig
from alphaedit_core.editing.editors.registry import editor_class
from alphaedit_core.editing.target_search import find_targets
from alphaedit_core.errors import StructureError
from alphaedit_core.model import call_shapes as call_shapes_module
from alphaedit_core.model.batch_planning import BatchPlan
from alphaedit_core.model.call_shapes import Axes, CallShapes, call_shapes
from alphaedit_core.model.editable_model import EditableModel
from alphaedit_core.model.forward import BlockCall
from alphaedit_core.model.loading import wrap
from alphaedit_core.model.packed_rows import PackedRows
from alphaedit_core.model.packing_check import may_pack
from alphaedit_core.model.tokenization import prepare
from alphaedit_core.nullspace.projectors import Projector
from alphaedit_core.session.session import EditSession
from benchmarks.textbook import plain_target

_SHAPE = {
    "num_hidden_layers": BLOCKS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "hidden_size": HIDDEN,
    "intermediate_size": INNER,
    "max_position_embeddings": WINDOW,
}
_LATENT = {
    **_SHAPE,
    "num_key_value_heads": 4,
    "q_lora_rank": 8,
    "kv_lora_rank": 8,
    "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
    "head_dim": 4,
}
_DENSE = {**_LATENT, "first_k_dense_replace": 9, "n_routed_experts": 4}
_ALIBI = {"alibi": True, "new_decoder_architecture": False, "multi_query": False}
_GPT = {"n_layer": BLOCKS, "n_embd": HIDDEN, "n_head": 4, "n_positions": WINDOW}

OTHERS: dict[str, tuple[str, dict[str, Any]]] = {
    "bloom": ("BloomConfig", {"n_layer": BLOCKS, "n_head": 4, "hidden_size": HIDDEN}),
    "mpt": (
        "MptConfig",
        {"n_layers": BLOCKS, "n_heads": 4, "d_model": HIDDEN, "max_seq_len": WINDOW},
    ),
    "falcon-alibi": ("FalconConfig", {**_SHAPE, **_ALIBI}),
    "diffllama": ("DiffLlamaConfig", _SHAPE),
    "deepseek-v2": ("DeepseekV2Config", _DENSE),
    "deepseek-v3": ("DeepseekV3Config", _DENSE),
    "minicpm3": ("MiniCPM3Config", _LATENT),
    "doge": ("DogeConfig", _SHAPE),
    "ctrl": ("CTRLConfig", {**_GPT, "dff": INNER}),
}
#: Models whose rows cannot be packed, although their class supports attention functions.
NOT_END_TO_END = {"diffllama", "deepseek-v2", "deepseek-v3", "minicpm3", "doge"}
#: Models that compute parts of the attention in float32 even with float64 weights.
NARROW = {"bloom", "mpt", "gptj", "deepseek-v2"}


def other(name: str, dtype: torch.dtype = torch.float64) -> EditableModel:
    if name not in OTHERS:
        return tiny_model(name, dtype=dtype)
    tokenizer = tiny_tokenizer()
    config_class, fields = OTHERS[name]
    model = tiny_language_model(config_class, {"vocab_size": len(tokenizer)} | fields)
    return wrap(model.to(dtype), tokenizer, name)


@pytest.fixture
def wide_softmax(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eager attention requests a softmax in float32; compute it in float64 for float64 weights."""
    softmax = F.softmax

    def wide(values: Tensor, dim: int = -1, dtype: torch.dtype | None = None) -> Tensor:
        return softmax(
            values, dim=dim, dtype=torch.float64 if values.dtype == torch.float64 else dtype
        )

    monkeypatch.setattr(F, "softmax", wide)


# ---------------------------------------------------------- row dimensions of the block arguments


def four_rows() -> list[tuple[tuple[int, ...], int]]:
    """As many rows as heads, with suffixes of one length and prefixes of different lengths."""
    ids = torch.randint(3, 250, (4, 20), generator=torch.Generator().manual_seed(1)).tolist()
    return [(tuple(row[: cut + 4]), cut) for row, cut in zip(ids, (3, 9, 5, 0), strict=True)]


@pytest.mark.parametrize("known", [True, False], ids=["known", "prepared again"])
@pytest.mark.parametrize(
    "name", ["bloom", "mpt", "falcon-alibi", "llama", "gpt2", "neox", "gptj", "phi", "diffllama"]
)
def test_dropping_rows(name: str, known: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The remaining rows (as many as heads, some, one) equal their own separate forward passes."""
    model = other(name)
    if not known:
        monkeypatch.setattr(call_shapes_module, "_measure", lambda _: CallShapes({}))
    rows = four_rows()
    expected = [outputs(model, model.layers - 1, ids)[cut:] for ids, cut in rows]
    with torch.no_grad():
        suffixes = PackedRows(model, rows, 1, pack=False)
        for keep in (None, [0, 1, 3], [1, 2], [1], None):
            if keep is not None:
                suffixes.keep(torch.tensor(keep))
            found = suffixes.run(suffixes.entry, lambda: None)
            wanted = torch.cat([expected[index] for index in suffixes.order])
            gap = float((found - wanted).abs().max())
            assert gap < (1e-6 if name in NARROW else 1e-10)
    assert len(suffixes.order) == 1


def test_dimensions_of_the_block_arguments() -> None:
    def of(name: str) -> set[Axes]:
        shapes = call_shapes(other(name))
        return {axes for (_, argument, *_), axes in shapes._axes.items() if argument in _BIASES}

    assert of("bloom") == {Axes(0, 4, 2)}  # (rows * heads, 1, seen)
    assert of("mpt") == {Axes(None, 1, None)}  # (heads, 1, positions)
    llama = call_shapes(other("llama"))
    assert llama._axes[0, "position_embeddings", 0] == Axes(0, 1, 1)
    assert llama._axes[0, "attention_mask"].rows == 0


_BIASES = {"alibi", "position_bias"}


def test_tensors_with_an_unknown_row_dimension_are_not_split() -> None:
    """Heads before rows, or values that depend on the batch, leave the row dimension unknown."""
    heads_first = torch.arange(4)[:, None] * 10 + torch.arange(3)
    two, three = heads_first[:, :2].reshape(8, 1, 1), heads_first.reshape(12, 1, 1)
    assert call_shapes_module._axes(two, three, two) is None
    rows_first = [heads_first.T[:rows].reshape(-1, 1, 1) for rows in (2, 3)]
    assert call_shapes_module._axes(*rows_first, rows_first[0]) == Axes(0, 4, None)
    assert call_shapes_module._axes(torch.zeros(4, 1), torch.ones(4, 1), torch.zeros(4, 1)) is None
    rows = torch.tensor([0])
    for value in (torch.zeros(2, 3), object()):
        assert CallShapes({}).select(0, BlockCall({"what": value}), rows, 2) is None


@pytest.mark.parametrize("name", list(OTHERS))
def test_all_steps_of_the_search_agree_with_the_plain_search(name: str, wide_softmax: None) -> None:
    """Facts that converge at different steps, compared with single facts in the whole model."""
    model = other(name)
    requests = requests_of(model)
    hp = AlphaEditConfig(layers=(0,), target_steps=5, target_learning_rate=0.3, loss_stop=0.0)
    losses = [[sum(terms) for terms in plain_target(model, r, hp).losses] for r in requests]
    lowest = min(losses, key=min)
    hp = hp.replace(loss_stop=(lowest[1] + lowest[3]) / 2)
    plain = [plain_target(model, request, hp) for request in requests]
    assert len({len(one.losses) for one in plain}) > 1

    monitor = quiet()
    found = find_targets(model, requests, hp, BatchPlan(4096), monitor)

    gap = float((found.z - torch.stack([one.z for one in plain])).abs().max())
    for trace, one in zip(found.traces, plain, strict=True):
        ours = torch.tensor(list(zip(trace.nll, trace.kl, trace.decay, strict=True)))
        assert ours.shape == (len(one.losses), 3)
        gap = max(gap, float((ours - torch.tensor(one.losses)).abs().max()))
    assert gap < (1e-5 if name in NARROW else 1e-8)
    warned = any("laid end to end" in warning for warning in monitor.warnings)
    assert warned == (name in NOT_END_TO_END)


# ------------------------------------------------------------------------------- packing of rows


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_packing_is_checked_once_with_a_warning(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, monitor = other("diffllama", dtype), quiet()
    assert not may_pack(model, monitor) and not may_pack(model, monitor)
    assert len(monitor.warnings) == 1
    assert "a DiffLlamaForCausalLM cannot take texts of different lengths" in monitor.warnings[0]
    plain = quiet()
    assert may_pack(other("llama", dtype), plain) and not plain.warnings
    with monkeypatch.context() as patched:
        # The check must not run a second time.
        patched.setattr("alphaedit_core.model.packing_check.PackedRows", None)
        assert not may_pack(model, quiet())


def test_an_edit_warns_that_rows_are_not_packed(tmp_path: Path, cache: Path) -> None:
    monitor = quiet()
    session = EditSession(other("diffllama", torch.float32), hyperparameters=small(tmp_path))
    session.edit(FACTS, batch_size=2, monitor=monitor)
    assert sum("laid end to end" in warning for warning in monitor.warnings) == 1


def test_blocks_that_cannot_be_run_again_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = other("llama")
    model._test_results.clear()  # tiny models are checked when they are built
    run = PackedRows.run
    monkeypatch.setattr(PackedRows, "run", lambda *args: run(*args) * 1.01)
    with pytest.raises(StructureError, match=r"a LlamaForCausalLM cannot be searched: .*by 1%"):
        may_pack(model, quiet())


# ----------------------------------------------- factor from the down-projection to the stream


def test_the_factor_to_the_residual_stream() -> None:
    """The factor is the matching number in the configuration, and None after a norm."""
    for dtype in (torch.float32, torch.bfloat16):
        for name in ("llama", "gpt2", "neox", "opt", "gptj", "phi"):
            assert other(name, dtype).architecture.reach == (1.0,) * BLOCKS
        scaled = tiny_model("granite", dtype=dtype, residual_multiplier=0.22)
        assert scaled.architecture.reach == (0.22,) * BLOCKS
        assert tiny_model("gemma3", dtype=dtype).architecture.reach == (None,) * BLOCKS
        depth = 1.4 / BLOCKS**0.5  # by the root of the number of blocks
        assert other("minicpm3", dtype).architecture.reach == (depth,) * BLOCKS


def write(model: EditableModel, layers: tuple[int, ...], editor: str) -> tuple[Any, list[str]]:
    """Write facts without a protected space and with a tiny ridge; return result and warnings."""
    hp = config_of(editor, layers=layers, target_steps=4, loss_stop=0.0, ridge=1e-9)
    everything = Projector.identity(INNER)
    none = PreviousKeys.none(INNER)
    monitor = quiet()
    written = write_batch(
        model,
        EditedWeights(model, layers),
        editor_class(editor)(),
        prepare(model, FACTS[:3] if editor == "alphaedit" else FACTS[:1], (), layers[-1]),
        dict.fromkeys(layers, none),
        dict.fromkeys(layers, LayerSpace(everything, everything, everything)),
        hp,
        BatchPlan(4096),
        monitor,
    )
    return written, monitor.warnings


@pytest.mark.parametrize("multiplier", [1.0, 0.22, 3.0])
@pytest.mark.parametrize(
    ("editor", "layers"), [("alphaedit", (1,)), ("alphaedit", (0, 1)), ("rome", (1,))]
)
def test_no_residual_is_left(multiplier: float, editor: str, layers: tuple[int, ...]) -> None:
    model = tiny_model("granite", dtype=torch.float64, residual_multiplier=multiplier)
    written, warnings = write(model, layers, editor)
    assert max(written.residual_left) < 1e-5 and not warnings


def test_the_residual_is_divided_exactly() -> None:
    """With one layer, the change of the output times the factor is the whole residual."""
    model = tiny_model("granite", dtype=torch.float64, residual_multiplier=0.22)
    written, _ = write(model, (1,), "alphaedit")
    change = written.changes[1]
    output = change.left @ (change.right.T @ written.keys[1])
    residual = (written.targets.z - written.targets.h0).T
    assert float((0.22 * output - residual).abs().max()) < 1e-6


def test_a_norm_after_the_mlp_gives_a_warning() -> None:
    written, warnings = write(tiny_model("gemma3", dtype=torch.float64), (1,), "alphaedit")
    assert written.residual_left[0] is not None
    assert len(warnings) == 1 and "no layer can write its share exactly" in warnings[0]


def test_an_mlp_that_does_not_reach_the_stream_is_refused() -> None:
    with pytest.raises(StructureError, match="output of block 0's down-projection does not reach"):
        tiny_model("granite", residual_multiplier=0.0)


# ----------------------------------------------------------------------------- refused when loaded

_MAMBA = {"mamba_n_heads": 4, "mamba_d_head": 8, "mamba_d_state": 8}
REFUSED: dict[str, tuple[str, dict[str, Any]]] = {
    "lfm2": ("Lfm2Config", {**_SHAPE, "layer_types": ["conv", "full_attention", "conv"]}),
    "falcon_h1": ("FalconH1Config", {**_SHAPE, "mamba_d_ssm": 32, **_MAMBA}),
    "qwen3_5_text": ("Qwen3_5TextConfig", {**_SHAPE, "head_dim": 8}),
    "granitemoehybrid": (
        "GraniteMoeHybridConfig",
        {
            **_SHAPE,
            **_MAMBA,
            "mamba_n_heads": 8,
            "shared_intermediate_size": INNER,
            "num_local_experts": 0,
            "layer_types": ["mamba", "attention", "mamba"],
        },
    ),
    # A decoder that computes its own positions: padding before a text shifts them.
    "mbart": ("MBartConfig", {**_SHAPE, "d_model": HIDDEN, "decoder_layers": BLOCKS,
                              "decoder_attention_heads": 4, "decoder_ffn_dim": INNER}),
}  # fmt: skip


@pytest.mark.parametrize("name", list(REFUSED))
def test_a_model_without_plain_attention_blocks_is_refused_by_name(name: str) -> None:
    config_class, fields = REFUSED[name]
    tokenizer = tiny_tokenizer()
    model = tiny_language_model(config_class, {"vocab_size": len(tokenizer)} | fields)
    with pytest.raises(StructureError) as caught:
        wrap(model, tokenizer, name)
    message = str(caught.value)
    assert message.startswith(f"a {type(model).__name__} (model type {name.removesuffix('_text')}")
    assert "cannot be edited" in message and "\n" not in message
