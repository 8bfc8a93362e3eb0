"""``--editor``, its switches, ``--config``, ``--set`` and ``--seed``, checked before any work."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Mapping, Sequence
from json import JSONDecodeError
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alphaedit_core.errors import InputError, SessionError
from alphaedit_core.storage.json_text import parse_json, read_text

from .options import Parser

if TYPE_CHECKING:
    from alphaedit_core.editing.config import EditConfig


def add(parser: Parser) -> None:
    """Declare the options of one editor."""
    parser.add_argument(
        "--editor", metavar="NAME", help="editor (alphaedit); see alphaedit editors"
    )
    parser.add_argument(
        "--projection",
        action=argparse.BooleanOptionalAction,
        help="project updates into the null space (as published)",
    )
    parser.add_argument(
        "--previous-keys",
        action=argparse.BooleanOptionalAction,
        help="protect previous facts (as published)",
    )
    add_changes(parser)


def fields_help() -> str:
    """Return a description of every field of every editor, with its default."""
    from alphaedit_core.editing.config import EditConfig
    from alphaedit_core.editing.config_fields import descriptions, format_value
    from alphaedit_core.editing.configs import field_editors
    from alphaedit_core.editing.editors.registry import editors

    shared = descriptions(EditConfig)
    defaults: dict[str, tuple[Any, str]] = dict(shared)
    for editor in editors().values():
        defaults |= {
            n: others for n, others in descriptions(editor.config).items() if n not in shared
        }
    lines = ["fields of all editors (--set, --config) and their defaults:"]
    others = ["", "fields of some editors:"]
    for name, users in field_editors().items():
        default, text = defaults[name]
        value = "" if name in ("layers", "editor") else f" [{format_value(default)}]"
        if name in ("projection", "previous_keys"):
            value = " [as published]"
        users_text = "" if name in shared else f" of {', '.join(users)}"
        (lines if name in shared else others).extend(
            textwrap.wrap(
                f"{name}{value}{users_text}: {text}".replace("``", ""),
                98,
                initial_indent="  ",
                subsequent_indent="      ",
            )
        )
    return "\n".join(lines + others)


def add_changes(parser: Parser) -> None:
    """Declare the options that do not choose the editor."""
    parser.appendix = fields_help
    parser.add_argument("--seed", metavar="S", help="random seed (0)")
    parser.add_argument(
        "--config",
        metavar="FILE",
        help="hyperparameters as JSON or YAML, on top of the preset; also reads files of the "
        "released code and of EasyEdit",
    )
    parser.add_argument(
        "--set",
        metavar="FIELD=VALUE",
        action="append",
        default=[],
        help="one hyperparameter, on top of --config; repeatable",
    )


def changes(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the requested values by field; ``--set`` wins over other options, these over a file.

    Raises:
        InputError: for a file that cannot be read, a field that does not exist or belongs to
            another editor, or a value that no model can use.
    """
    from alphaedit_core.editing.configs import field_editors
    from alphaedit_core.editing.editors.registry import editor_class
    from alphaedit_core.editing.published_names import present_fields

    file_source = f"config {arguments.config}"
    settings: list[tuple[str, str, Any]] = []
    if arguments.config is not None:
        content = _read(Path(arguments.config))
        try:
            content = present_fields(content)
        except InputError as error:
            raise InputError(f"{file_source}: {error}") from None
        settings += [(file_source, name, value) for name, value in content.items()]
    for name in ("editor", "projection", "previous_keys"):
        value = getattr(arguments, name, None)
        if value is not None:
            settings.append((f"--{name.replace('_', '-')}", name, value))
    if arguments.seed is not None:
        settings.append(("--seed", "seed", arguments.seed))
    for text in arguments.set:
        name, equals, value = text.partition("=")
        if not equals:
            raise InputError(f'--set "{text}" has no value; give FIELD=VALUE such as ridge=1')
        settings.append(("--set", name.strip(), value.strip()))
    # Commands without --projection take a list of editors; a field may be of any of them.
    editor = None
    if hasattr(arguments, "projection"):
        chosen = [(source, str(v)) for source, name, v in settings if name == "editor"]
        editor = _checked(chosen[-1][0], "editor", chosen[-1][1], None) if chosen else "alphaedit"
    foreign = set()
    if editor is not None:  # files may have fields of other editors, as the released ones do
        foreign = {name for name, users in field_editors().items() if editor not in users}
    requested = {
        name: _checked(source, name, value, editor)
        for source, name, value in settings
        if source != file_source or name not in foreign
    }
    if requested.get("previous_keys") and editor and editor_class(editor).previous_keys is None:
        raise InputError(f"--previous-keys: does not apply to the editor {editor}; leave it out")
    return requested


def check_no_conflict(
    arguments: argparse.Namespace, requested: Mapping[str, Any], option: str
) -> dict[str, Any]:
    """Return the requested values without those that a list of editors sets itself.

    Args:
        arguments: the command's arguments.
        requested: result of :func:`changes`; a file's editor and switches are ignored.
        option: option with the list of editors, for the message.

    Raises:
        InputError: if ``--set`` sets an editor or a switch.
    """
    reserved = ("editor", "projection", "previous_keys")
    for setting in arguments.set:
        if setting.partition("=")[0].strip() in reserved:
            raise InputError(f'--set "{setting}": belongs in {option}, as in memit+projection')
    return {name: value for name, value in requested.items() if name not in reserved}


def applied_to(preset: EditConfig, requested: Mapping[str, Any]) -> EditConfig:
    """Return a preset with the requested values of its editor; ``source`` names them."""
    from alphaedit_core.editing.config import own_fields

    fields = own_fields(type(preset), requested)
    if not fields:
        return preset
    source = f"{preset.source}; changed: {', '.join(sorted(fields))}"
    return preset.replace(**{"source": source, **fields})


def check_used(arguments: argparse.Namespace, methods: Sequence[EditConfig]) -> None:
    """Refuse a field of ``--set`` that none of the editors has.

    Raises:
        InputError: naming the first such field.
    """
    for setting in arguments.set:
        name = setting.partition("=")[0].strip()
        if not any(name in method.field_names() for method in methods):
            editors = ", ".join(method.editor for method in methods)
            raise InputError(f'--set: none of {editors} has a field "{name}"; leave it out')


def require_same(stored: EditConfig, requested: Mapping[str, Any], session: str) -> None:
    """Refuse to continue a session with different hyperparameters.

    Raises:
        SessionError: naming the first field that differs.
    """
    from alphaedit_core.editing.config import own_fields
    from alphaedit_core.editing.config_fields import format_value

    changes = own_fields(type(stored), {**requested, "editor": stored.editor})
    new = stored.replace(**changes).to_dict()
    if "editor" in requested:
        new["editor"] = requested["editor"]
    for name, value in stored.to_dict().items():
        if new[name] != value:
            raise SessionError(
                f"session {session}: its {name} is {format_value(value)}, not "
                f"{format_value(new[name])}; leave it out, or give a new folder"
            )


def _checked(source: str, name: str, value: Any, editor: str | None) -> Any:
    """Return a valid value of a field; paths become absolute, so that sessions can store them."""
    from alphaedit_core.corpora.sources import open_text
    from alphaedit_core.editing.config_fields import unknown_field
    from alphaedit_core.editing.configs import check_field, field_editors, make_config
    from alphaedit_core.editing.editors.registry import editor_class

    try:
        users = field_editors()
        if name not in users:
            raise unknown_field(name, list(users))
        if name == "editor":
            return editor_class(str(value)).name
        if editor is not None:
            editor_class(editor)
            check_field(editor, name)
        # Fields named layer_… have one value per layer.
        values = value.split(",") if isinstance(value, str) else value
        count = len(values) if name.startswith("layer_") and hasattr(values, "__len__") else 1
        fields = {"layers": range(max(1, count)), name: value}
        valid = getattr(make_config(editor or users[name][0], **fields), name)
        if name == "text" and valid != "self":
            open_text(valid)
            return str(Path(valid).resolve()) if Path(valid).is_file() else valid
    except InputError as error:
        raise InputError(f"{source}: {error}") from None
    return valid


def _read(file: Path) -> dict[str, Any]:
    """Read a mapping of plain values from a JSON or YAML file."""
    try:
        text = read_text(file)
    except OSError as error:
        raise InputError(
            f"config {file}: cannot be read ({error.strerror}); give a JSON or YAML file"
        ) from None
    except UnicodeDecodeError as error:
        raise InputError(
            f"config {file}: not UTF-8 at byte {error.start}; save it in UTF-8"
        ) from None
    content = _parsed_yaml(file, text) if file.suffix in (".yaml", ".yml") else _parsed(file, text)
    if not isinstance(content, dict):
        raise InputError(f'config {file}: is not an object; write for example {{"ridge": 1}}')
    return content


def _parsed(file: Path, text: str) -> Any:
    try:
        return parse_json(text)
    except JSONDecodeError as error:
        raise InputError(
            f"config {file}: not valid JSON at line {error.lineno}, column {error.colno} "
            f"({error.msg}); correct it there, or name a YAML file .yaml"
        ) from None


def _parsed_yaml(file: Path, text: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        position = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        reason = getattr(error, "problem", None) or "not YAML"
        raise InputError(
            f"config {file}: not valid YAML{position} ({reason}); correct it"
        ) from None
