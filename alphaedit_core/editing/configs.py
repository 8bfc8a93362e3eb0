"""Configurations of all editors: by name, from files, and from one editor to another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from alphaedit_core.errors import InputError

from .config import EditConfig, own_fields
from .config_fields import unknown_field
from .editors.registry import editor_class, editors
from .published_names import present_fields


def config_class(editor: str) -> type[EditConfig]:
    """The configuration of an editor.

    Raises:
        InputError: if there is no such editor.
    """
    return editor_class(editor).config


def make_config(editor: str = "alphaedit", **fields: Any) -> EditConfig:
    """An editor's configuration; what is not given is as published.

    Args:
        editor: its name.
        fields: ``layers``, and whatever else is to differ.

    Raises:
        InputError: if there is no such editor or field, or a value cannot be used.
    """
    return config_class(editor)(**{"editor": editor, **fields})


def config_from_dict(fields: Mapping[str, Any]) -> EditConfig:
    """The inverse of :meth:`.EditConfig.to_dict`, also of earlier versions.

    Those wrote the fields of all editors, under names that are understood here; what belongs to
    another editor is left out.

    Raises:
        InputError: for a field that no editor has, a value that cannot be used, or no layers.
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


#: The type of a field that a file holds as :meth:`.EditConfig.to_dict` writes it.
StoredConfig = Annotated[EditConfig, config_from_dict]


def with_editor(config: EditConfig, editor: str, **changes: Any) -> EditConfig:
    """The same for another editor: what both have is kept, what only the new one has as published.

    Raises:
        InputError: as :func:`make_config`.
    """
    kept = own_fields(config_class(editor), config.to_dict())
    return make_config(**kept | {"editor": editor} | changes)


def field_editors() -> dict[str, list[str]]:
    """Every field that any editor has, with the names of those editors."""
    found: dict[str, list[str]] = {}
    for name, editor in editors().items():
        for field in editor.config.field_names():
            found.setdefault(field, []).append(name)
    return found


def check_field(editor: str, name: str) -> None:
    """Refuse a field that an editor does not have, by what it may be instead.

    Raises:
        InputError: if it does not.
    """
    known = field_editors()
    if name not in known:
        raise unknown_field(name, list(known))
    if editor not in known[name]:
        raise InputError(
            f'field "{name}" is not of the editor {editor} but of {", ".join(known[name])}; leave '
            "it out, or name another editor"
        )
