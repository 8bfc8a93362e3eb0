"""Facts, contexts and hyperparameters for tiny models, and a plain look inside a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from configs import config_of
from tiny import prose
from torch import Tensor

from alphaedit_core.data.facts import Fact
from alphaedit_core.editing.config import EditConfig
from alphaedit_core.model.editable_model import EditableModel
from alphaedit_core.model.forward import tap
from alphaedit_core.model.tokenization import TokenizedFact, TokenRow, prepare
from alphaedit_core.progress import Monitor

#: Of different lengths; targets of one and of many tokens; a subject at the very start and later.
FACTS = (
    Fact("Eiffel Tower", "{} is in the city of", "Rome in Italy", "Paris"),
    Fact("Newton", "The old mechanics of {} is named in", "Japan", "England"),
    Fact("東京", "{}は", "日本の都"),
    Fact("The capital of Germany", "You know that {} is", "Paris", "Berlin"),
)
CONTEXTS = ("The city of Rome is old", "I know that Berlin")

#: Layouts whose attention multiplies in float32 even where the weights are float64.
NARROW_ATTENTION = {"gptj"}


def quiet() -> Monitor:
    """A monitor that shows nothing."""
    return Monitor(show=None)


def requests_of(model: EditableModel, last_layer: int = 0) -> list[TokenizedFact]:
    """``FACTS`` with ``CONTEXTS`` as a model's tokens."""
    return prepare(model, FACTS, CONTEXTS, last_layer)


def small(folder: Path, **changes: object) -> EditConfig:
    """Hyperparameters that a tiny model is edited with in a moment; its text is put in a folder."""
    text = folder / "text.txt"
    if not text.exists():
        text.write_text(prose(600), encoding="utf-8")
    fields: dict[str, Any] = {
        "layers": (0, 1),
        "target_steps": 4,
        "text": str(text),
        "tokens": 1024,
        "threshold": "rank:30",
    }
    return config_of(**fields | changes)


@torch.no_grad()
def outputs(model: EditableModel, layer: int, ids: tuple[int, ...]) -> Tensor:
    """Output of a block for one text, by a pass of the whole model: (tokens, hidden_size)."""
    seen: list[Tensor] = []
    hook = model.architecture.blocks[layer].register_forward_hook(
        lambda _module, _args, out: seen.append(out[0] if isinstance(out, tuple) else out)
    )
    try:
        model.model(input_ids=torch.tensor([ids]), use_cache=False)
    finally:
        hook.remove()
    return seen[0][0]


@torch.no_grad()
def key(model: EditableModel, layer: int, row: TokenRow) -> Tensor:
    """What the down-projection reads at the subject's last token, (d_in,)."""
    seen: list[Tensor] = []
    with tap(model.architecture.down_projections[layer], seen.append):
        model.model(input_ids=torch.tensor([row.ids]), use_cache=False)
    return seen[0].reshape(len(row.ids), -1)[row.subject]
