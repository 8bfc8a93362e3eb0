"""An editor's hyperparameters in a model, and whether they can be used there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alphaedit_core.errors import InputError

from .config import EditConfig, own_fields
from .configs import make_config
from .editors.base import Editor
from .editors.registry import editor_class
from .presets import Shape, preset_fields, preset_shapes, single_layer

if TYPE_CHECKING:  # presets are listed without torch
    from alphaedit_core.model.editable_model import EditableModel


def validated_editor(model: EditableModel, hp: EditConfig) -> Editor[Any]:
    """The editor of hyperparameters that can be used with a model.

    Raises:
        InputError: naming what cannot.
    """
    editor = editor_class(hp.editor)
    if not isinstance(hp, editor.config):
        raise InputError(
            f"the editor {hp.editor} is set by a {editor.config.__name__}, not by a "
            f'{type(hp).__name__}; give make_config("{hp.editor}", ...)'
        )
    if hp.previous_keys and editor.previous_keys is None:
        raise InputError(
            f"previous_keys means nothing for the editor {hp.editor}, which has no term for the "
            "facts written before; leave it off"
        )
    if hp.layer_lambda_factors and not editor.weight:
        raise InputError(
            f"layer_lambda_factors mean nothing for the editor {hp.editor}, which has no lambda; "
            "leave them off"
        )
    if editor.one_layer and len(hp.layers) > 1:
        raise InputError(
            f"the editor {hp.editor} writes into one layer, not {list(hp.layers)}; give one"
        )
    _check_layers(model, hp)
    return editor()


def _check_layers(model: EditableModel, hp: EditConfig) -> None:
    if hp.layers[-1] >= model.layers:
        raise InputError(
            f"layers {list(hp.layers)} are not all blocks of this model; give indices from 0 to "
            f"{model.layers - 1}"
        )


def default_hyperparameters(model: EditableModel, editor: str = "alphaedit") -> EditConfig:
    """An editor's hyperparameters in a model: the published ones, or derived from its shape.

    Raises:
        InputError: if there is no such editor.
    """
    return preset_for(shape_of(model), editor)


def preset_for(shape: Shape, editor: str = "alphaedit") -> EditConfig:
    """The same by the shape of a model."""
    fields, own = preset_fields(shape), editor_class(editor)
    fields |= own.settings(fields)
    if own.preset:
        fields |= single_layer(fields, shape, own.preset)
    switches = {"projection": own.projection, "previous_keys": bool(own.previous_keys)}
    return make_config(**own_fields(own.config, fields) | switches | {"editor": editor})


def presets(editor: str = "alphaedit") -> list[EditConfig]:
    """An editor's hyperparameters for every model that has a preset."""
    return [preset_for(shape, editor) for shape in preset_shapes()]


def shape_of(model: EditableModel) -> Shape:
    """By which presets know the model."""
    config = model.model.config.get_text_config()
    architecture = model.architecture
    return Shape(config.model_type, model.layers, architecture.hidden_size, architecture.inner_size)
