"""An editor's hyperparameters in a model, and whether they can be used there."""

from __future__ import annotations

from alphaedit_core.editing.editors.base import Editor
from alphaedit_core.editing.editors.registry import editor_class
from alphaedit_core.editing.hyperparameters import HyperParameters, Shape, preset_for, single_layer
from alphaedit_core.errors import (
    InputError,
)
from alphaedit_core.model.editable_model import EditableModel


def validated_editor(model: EditableModel, hp: HyperParameters) -> Editor:
    """The editor of hyperparameters that can be used with a model.

    Raises:
        InputError: naming what cannot.
    """
    editor = editor_class(hp.editor)
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


def _check_layers(model: EditableModel, hp: HyperParameters) -> None:
    if hp.layers[-1] >= model.layers:
        raise InputError(
            f"layers {list(hp.layers)} are not all blocks of this model; give indices from 0 to "
            f"{model.layers - 1}"
        )


def default_hyperparameters(model: EditableModel, editor: str = "alphaedit") -> HyperParameters:
    """An editor's hyperparameters in a model: the published ones, or derived from its shape.

    Raises:
        InputError: if there is no such editor.
    """
    shape = shape_of(model)
    preset, own = preset_for(shape), editor_class(editor)
    fields = dict(own.settings(preset))
    if own.preset:
        fields |= single_layer(preset, shape, own.preset)
    return preset.replace(
        editor=editor,
        projection=own.projection,
        previous_keys=bool(own.previous_keys),
        **fields,
    )


def shape_of(model: EditableModel) -> Shape:
    """By which presets know the model."""
    config = model.model.config.get_text_config()
    architecture = model.architecture
    return Shape(config.model_type, model.layers, architecture.hidden_size, architecture.inner_size)
