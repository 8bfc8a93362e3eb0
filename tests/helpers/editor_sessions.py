"""Every editor's name, and a session of a tiny model that it can edit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from examples import CONTEXTS, FACTS, quiet, small
from tiny import tiny_model
from torch import Tensor

from alphaedit_core.editing.config import EditConfig
from alphaedit_core.editing.editors.base import FineTuner
from alphaedit_core.editing.editors.registry import editor_class, editors
from alphaedit_core.session.session import EditSession

#: Every editor …
ALL = list(editors())
#: … those that solve for a change …
SOLVERS = [name for name in ALL if not issubclass(editor_class(name), FineTuner)]
#: … and those that can spare the keys of earlier facts.
SPARING = [name for name in ALL if editor_class(name).previous_keys is not None]


def settings(place: Path, name: str, **changes: Any) -> EditConfig:
    """Hyperparameters with which an editor leaves a mark on a tiny model."""
    editor = editor_class(name)
    own = {
        "editor": name,
        "projection": editor.projection,
        "previous_keys": bool(editor.previous_keys),
        # Strong enough to leave a mark on a tiny model.
        "covariance_weight": 0.5,
        "ft_learning_rate": 0.05,
        "ft_max_change": 0.02,
        # The MLP of a tiny model puts out little beside what the decay is measured by.
        **({} if editor.place == "block" else {"weight_decay": 0.0, "clamp_norm_factor": 20.0}),
        "layers": (1,) if editor.preset else (0, 1),
    }
    return small(place, **own | changes)


def new_session(place: Path, name: str, layout: str = "llama", **changes: Any) -> EditSession:
    """A session of a tiny model that this editor edits."""
    model = tiny_model(layout)
    return EditSession(
        model, hyperparameters=settings(place, name, **changes), contexts=CONTEXTS[:1]
    )


def changes_of(place: Path, name: str, **changes: Any) -> list[Tensor]:
    """What the one edit of a new session changes, by layer."""
    session = new_session(place, name, **changes)
    matrices = {
        n: session.model.architecture.matrix(n).clone() for n in session.hyperparameters.layers
    }
    session.edit(FACTS[:2], monitor=quiet())
    return [session.model.architecture.matrix(n) - matrix for n, matrix in matrices.items()]
