"""Settings of Compare: number of tokens, greedy or sampled, text or chat."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ipywidgets as W

from alphaedit_core.errors import InputError
from alphaedit_core.inference.token_by_token import Sampling, has_chat
from alphaedit_core.model.editable_model import EditableModel
from alphaedit_widgets.components.panel import row

GREEDY, SAMPLED = "greedy", "sampled"


class AskSettings(W.HBox):
    """The inputs beside the Compare button; sampling inputs appear only when sampling.

    Args:
        model: chat is offered only where its tokenizer has a template.
        changed: called after every change.
    """

    def __init__(self, model: EditableModel, changed: Callable[[], None]) -> None:
        self._model = model
        self._tokens = _number(W.BoundedIntText, "New tokens", 12, min=1, max=200)
        self._sampling = W.Dropdown(
            description="Sampling",
            options=[GREEDY, SAMPLED],
            layout=W.Layout(width="170px"),
            style={"description_width": "initial"},
        )
        self._seed = _number(W.IntText, "Seed", 0)
        self._temperature = _number(
            W.BoundedFloatText, "Temperature", 1.0, min=0.01, max=10.0, step=0.1
        )
        self._top_p = _number(W.BoundedFloatText, "Top-p", 1.0, min=0.01, max=1.0, step=0.05)
        self._sampling_inputs = row(self._seed, self._temperature, self._top_p)
        self._chat = W.Checkbox(
            description="Chat",
            indent=False,
            layout=W.Layout(width="auto"),
            tooltip="send the prompt as a message, with the tokenizer's chat template",
        )
        self._chat.layout.display = "" if has_chat(model) else "none"
        super().__init__([self._tokens, self._sampling, self._sampling_inputs, self._chat])
        self.add_class("ae-row")
        self._show_sampling_inputs()
        self._sampling.observe(self._show_sampling_inputs, "value")
        for widget in (self._tokens, self._sampling, *self._sampling_inputs.children, self._chat):
            widget.observe(lambda _: changed(), "value")

    @property
    def tokens(self) -> int:
        """Maximum number of new tokens, 1 to 200."""
        return int(self._tokens.value)

    @tokens.setter
    def tokens(self, value: int) -> None:
        self._tokens.value = value

    @property
    def sampling(self) -> Sampling | None:
        """Sampling settings; None for greedy decoding."""
        if self._sampling.value == GREEDY:
            return None
        return Sampling(self._seed.value, self._temperature.value, self._top_p.value)

    @sampling.setter
    def sampling(self, value: Sampling | None) -> None:
        if value is not None:
            self._seed.value, self._temperature.value = value.seed, value.temperature
            self._top_p.value = value.top_p
        self._sampling.value = GREEDY if value is None else SAMPLED

    @property
    def chat(self) -> bool:
        """Whether the prompt is sent as a message through the tokenizer's chat template."""
        return bool(self._chat.value)

    @chat.setter
    def chat(self, value: bool) -> None:
        if value and not has_chat(self._model):
            raise InputError(f'the tokenizer of "{self._model.name}" has no chat template')
        self._chat.value = value

    def _show_sampling_inputs(self, *_: Any) -> None:
        self._sampling_inputs.layout.display = "none" if self._sampling.value == GREEDY else ""


def _number(kind: Any, label: str, value: float, **limits: float) -> Any:
    """Return a number input as wide as its label."""
    return kind(
        value=value,
        description=label,
        layout=W.Layout(width=f"{len(label) * 7 + 80}px"),
        style={"description_width": "initial"},
        **limits,
    )
