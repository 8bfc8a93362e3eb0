"""Make configurations: by editor name, from a file, or from another editor's configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from alphaedit_core.errors import InputError

from .config import EditConfig, own_fields
from .config_fields import unknown_field
from .editors.registry import editor_class, editors
from .published_names import present_fields


def config_class(editor: str) -> type[EditConfig]:
    """Return the configuration class of an editor.

    Raises:
        InputError: if no editor has that name.
    """
    return editor_class(editor).config


def make_config(editor: str = "alphaedit", **fields: Any) -> EditConfig:
    """Return an editor's configuration, with the published value of every field not given.

    Args:
        editor: name of the editor.
        **fields: ``layers`` (required), and other fields of the editor's configuration.

    Raises:
        InputError: for an unknown editor or field, or an invalid value.
    """
    return config_class(editor)(**{"editor": editor, **fields})


def config_from_dict(fields: Mapping[str, Any]) -> EditConfig:
    """Return the configuration of a dictionary written by :meth:`.EditConfig.to_dict`.

    Earlier versions used other names and wrote the fields of all editors. Their names are
    translated, and fields of other editors are ignored.

    Raises:
        InputError: for a field that no editor has, an invalid value, or missing ``layers``.
    """
    fields = present_fields(fields)
    if "layers" not in fields:
        raise InputError('field "layers" is missing; give for example 5-9')
    known = field_editors()
    for name in fields:
        if name not in known:
            raise unknown_field(name, list(known))
    editor = str(fields.get("editor", "alphaedit"))
    return make_config(**own_fields(config_class(editor), fields) | {"editor": editor})


#: Type of a field that a file stores as written by :meth:`.EditConfig.to_dict`.
StoredConfig = Annotated[EditConfig, config_from_dict]


def with_editor(config: EditConfig, editor: str, **changes: Any) -> EditConfig:
    """Return a configuration for another editor that keeps the fields which both editors have.

    Args:
        config: configuration to convert.
        editor: name of the new editor; the fields that only it has get the published values.
        **changes: fields to set.

    Raises:
        InputError: as :func:`make_config`.
    """
    shared = own_fields(config_class(editor), config.to_dict())
    return make_config(**shared | {"editor": editor} | changes)


def field_editors() -> dict[str, list[str]]:
    """Return the names of the editors that have each field."""
    by_field: dict[str, list[str]] = {}
    for name, editor in editors().items():
        for field in editor.config.field_names():
            by_field.setdefault(field, []).append(name)
    return by_field


def check_field(editor: str, name: str) -> None:
    """Check that an editor has a field.

    Raises:
        InputError: if the field does not exist, or belongs to other editors.
    """
    known = field_editors()
    if name not in known:
        raise unknown_field(name, list(known))
    if editor not in known[name]:
        raise InputError(
            f'field "{name}" belongs to {", ".join(known[name])}, not to the editor {editor}; '
            "remove it, or choose another editor"
        )
