"""Default hyperparameters of an editor for a model, and checks of given ones."""

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
    """Return the editor of a configuration, after checking that the model can use it.

    Raises:
        InputError: if the configuration is of another editor's class, sets a field that means
            nothing for the editor, or names layers that the model or editor does not allow.
    """
    editor = editor_class(hp.editor)
    if not isinstance(hp, editor.config):
        raise InputError(
            f"the editor {hp.editor} takes a {editor.config.__name__}, not a "
            f'{type(hp).__name__}; give make_config("{hp.editor}", ...)'
        )
    if hp.previous_keys and editor.previous_keys is None:
        raise InputError(
            f"previous_keys means nothing for the editor {hp.editor}, which has no term for "
            "earlier edits; leave it off"
        )
    if hp.layer_lambda_factors and not editor.weight:
        raise InputError(
            f"layer_lambda_factors mean nothing for the editor {hp.editor}, which has no lambda; "
            "leave them off"
        )
    if editor.one_layer and len(hp.layers) > 1:
        raise InputError(
            f"the editor {hp.editor} writes into one layer, not {list(hp.layers)}; give one layer"
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
    """Return an editor's hyperparameters for a model: published, or derived from its shape.

    Raises:
        InputError: if no editor has that name.
    """
    return preset_for(shape_of(model), editor)


def preset_for(shape: Shape, editor: str = "alphaedit") -> EditConfig:
    """Return an editor's hyperparameters for a model of a shape.

    Raises:
        InputError: if no editor has that name.
    """
    fields, cls = preset_fields(shape), editor_class(editor)
    fields |= cls.settings(fields)
    if cls.preset:
        fields |= single_layer(fields, shape, cls.preset)
    switches = {"projection": cls.projection, "previous_keys": bool(cls.previous_keys)}
    return make_config(**own_fields(cls.config, fields) | switches | {"editor": editor})


def presets(editor: str = "alphaedit") -> list[EditConfig]:
    """Return an editor's hyperparameters for every model that has a preset."""
    return [preset_for(shape, editor) for shape in preset_shapes()]


def shape_of(model: EditableModel) -> Shape:
    """Return the shape by which the presets identify a model."""
    config = model.model.config.get_text_config()
    architecture = model.architecture
    return Shape(config.model_type, model.layers, architecture.hidden_size, architecture.inner_size)
