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
    """Declare them."""
    parser.add_argument(
        "--editor", metavar="NAME", help="what solves for the change (alphaedit); see editors"
    )
    parser.add_argument(
        "--projection",
        action=argparse.BooleanOptionalAction,
        help="stay inside the null space (as the editor was published)",
    )
    parser.add_argument(
        "--previous-keys",
        action=argparse.BooleanOptionalAction,
        help="spare the facts written before (as the editor was published)",
    )
    add_changes(parser)


def fields_help() -> str:
    """Every field of every editor, with its default and what it is; from the classes alone."""
    from alphaedit_core.editing.config import EditConfig
    from alphaedit_core.editing.config_fields import descriptions, format_value
    from alphaedit_core.editing.configs import field_editors
    from alphaedit_core.editing.editors.registry import editors

    shared = descriptions(EditConfig)
    told: dict[str, tuple[Any, str]] = dict(shared)
    for editor in editors().values():
        told |= {n: own for n, own in descriptions(editor.config).items() if n not in shared}
    lines = ["fields of all editors (--set, --config) and their defaults:"]
    own = ["", "fields of some editors:"]
    for name, users in field_editors().items():
        default, words = told[name]
        given = "" if name in ("layers", "editor") else f" [{format_value(default)}]"
        if name in ("projection", "previous_keys"):
            given = " [as published]"
        of = "" if name in shared else f" of {', '.join(users)}"
        (lines if name in shared else own).extend(
            textwrap.wrap(
                f"{name}{given}{of}: {words}".replace("``", ""),
                98,
                initial_indent="  ",
                subsequent_indent="      ",
            )
        )
    return "\n".join(lines + own)


def add_changes(parser: Parser) -> None:
    """Declare those that are not about the editor."""
    parser.appendix = fields_help
    parser.add_argument("--seed", metavar="S", help="seed of everything sampled (0)")
    parser.add_argument(
        "--config",
        metavar="FILE",
        help="hyperparameters as JSON or YAML, on top of the preset; also files of the released "
        "code and of EasyEdit",
    )
    parser.add_argument(
        "--set",
        metavar="FIELD=VALUE",
        action="append",
        default=[],
        help="one hyperparameter, on top of --config; may be given several times",
    )


def changes(arguments: argparse.Namespace) -> dict[str, Any]:
    """What they ask for, by field; ``--set`` before the others before ``--config``.

    Raises:
        InputError: for a file that cannot be read, a field that does not exist or is another
            editor's, or a value that cannot be used with any model.
    """
    from alphaedit_core.editing.configs import field_editors
    from alphaedit_core.editing.editors.registry import editor_class
    from alphaedit_core.editing.published_names import present_fields

    in_file = f"config {arguments.config}"
    given: list[tuple[str, str, Any]] = []
    if arguments.config is not None:
        content = _read(Path(arguments.config))
        try:
            content = present_fields(content)
        except InputError as error:
            raise InputError(f"{in_file}: {error}") from None
        given += [(in_file, name, value) for name, value in content.items()]
    for name in ("editor", "projection", "previous_keys"):
        value = getattr(arguments, name, None)
        if value is not None:
            given.append((f"--{name.replace('_', '-')}", name, value))
    if arguments.seed is not None:
        given.append(("--seed", "seed", arguments.seed))
    for text in arguments.set:
        name, equals, value = text.partition("=")
        if not equals:
            raise InputError(f'--set "{text}" has no value; give FIELD=VALUE such as ridge=1')
        given.append(("--set", name.strip(), value.strip()))
    # Where no editor can be named the command has a list of them; a field is of one of these then.
    editor = None
    if hasattr(arguments, "projection"):
        named = [(source, str(v)) for source, name, v in given if name == "editor"]
        editor = _checked(named[-1][0], "editor", named[-1][1], None) if named else "alphaedit"
    others = set()
    if editor is not None:  # a file may say what other editors are set to, as the released ones do
        others = {name for name, own in field_editors().items() if editor not in own}
    asked = {
        name: _checked(source, name, value, editor)
        for source, name, value in given
        if source != in_file or name not in others
    }
    if asked.get("previous_keys") and editor and editor_class(editor).previous_keys is None:
        raise InputError(f"--previous-keys: means nothing for the editor {editor}; leave it out")
    return asked


def check_no_conflict(
    arguments: argparse.Namespace, asked: Mapping[str, Any], option: str
) -> dict[str, Any]:
    """What was asked for of all editors of a list, which says itself what each one is.

    Args:
        arguments: the command's.
        asked: what :func:`changes` found; what a file says of the editor is passed over.
        option: the one that holds the list, for the message.

    Raises:
        InputError: if ``--set`` says what belongs into the list.
    """
    listed = ("editor", "projection", "previous_keys")
    for setting in arguments.set:
        if setting.partition("=")[0].strip() in listed:
            raise InputError(f'--set "{setting}": say it in {option}, as in memit+projection')
    return {name: value for name, value in asked.items() if name not in listed}


def applied_to(preset: EditConfig, asked: Mapping[str, Any]) -> EditConfig:
    """A preset with what was asked for of its editor; ``source`` says what that was."""
    from alphaedit_core.editing.config import own_fields

    own = own_fields(type(preset), asked)
    if not own:
        return preset
    source = f"{preset.source}; changed: {', '.join(sorted(own))}"
    return preset.replace(**{"source": source, **own})


def check_used(arguments: argparse.Namespace, methods: Sequence[EditConfig]) -> None:
    """Refuse what ``--set`` asks for and none of the editors of a list has.

    Raises:
        InputError: naming the first field.
    """
    for setting in arguments.set:
        name = setting.partition("=")[0].strip()
        if not any(name in method.field_names() for method in methods):
            editors = ", ".join(method.editor for method in methods)
            raise InputError(f'--set: field "{name}" is of none of {editors}; leave it out')


def require_same(kept: EditConfig, asked: Mapping[str, Any], session: str) -> None:
    """Refuse to continue a session with other hyperparameters than its own.

    Raises:
        SessionError: naming the first field that differs.
    """
    from alphaedit_core.editing.config import own_fields
    from alphaedit_core.editing.config_fields import format_value

    wanted = kept.replace(**own_fields(type(kept), {**asked, "editor": kept.editor})).to_dict()
    if "editor" in asked:
        wanted["editor"] = asked["editor"]
    for name, own in kept.to_dict().items():
        if wanted[name] != own:
            raise SessionError(
                f"session {session}: its {name} is {format_value(own)}, not "
                f"{format_value(wanted[name])}; leave that out, or give a new folder"
            )


def _checked(source: str, name: str, value: Any, editor: str | None) -> Any:
    """A value that some model could be edited with; paths made absolute for sessions to keep."""
    from alphaedit_core.corpora.sources import open_text
    from alphaedit_core.editing.config_fields import unknown_field
    from alphaedit_core.editing.configs import check_field, field_editors, make_config
    from alphaedit_core.editing.editors.registry import editor_class

    try:
        known = field_editors()
        if name not in known:
            raise unknown_field(name, list(known))
        if name == "editor":
            return editor_class(str(value)).name
        if editor is not None:
            editor_class(editor)
            check_field(editor, name)
        # One layer for each value of a field that has as many as there are layers.
        values = value.split(",") if isinstance(value, str) else value
        count = len(values) if name.startswith("layer_") and hasattr(values, "__len__") else 1
        fields = {"layers": range(max(1, count)), name: value}
        valid = getattr(make_config(editor or known[name][0], **fields), name)
        if name == "text" and valid != "self":
            open_text(valid)
            return str(Path(valid).resolve()) if Path(valid).is_file() else valid
    except InputError as error:
        raise InputError(f"{source}: {error}") from None
    return valid


def _read(file: Path) -> dict[str, Any]:
    """The mapping that a file of JSON or YAML holds, and nothing but plain values."""
    try:
        text = read_text(file)
    except OSError as error:
        raise InputError(
            f"config {file}: cannot be read ({error.strerror}); give a file of JSON or YAML"
        ) from None
    except UnicodeDecodeError as error:
        raise InputError(
            f"config {file}: not UTF-8 at byte {error.start}; save it in UTF-8"
        ) from None
    content = _parsed_yaml(file, text) if file.suffix in (".yaml", ".yml") else _parsed(file, text)
    if not isinstance(content, dict):
        raise InputError(f'config {file}: holds no object; write for example {{"ridge": 1}}')
    return content


def _parsed(file: Path, text: str) -> Any:
    try:
        return parse_json(text)
    except JSONDecodeError as error:
        raise InputError(
            f"config {file}: not valid JSON at line {error.lineno}, column {error.colno} "
            f"({error.msg}); correct it there, or name a file of YAML .yaml"
        ) from None


def _parsed_yaml(file: Path, text: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        place = getattr(error, "problem_mark", None)
        where = f" at line {place.line + 1}, column {place.column + 1}" if place else ""
        reason = getattr(error, "problem", None) or "no YAML"
        raise InputError(f"config {file}: not valid YAML{where} ({reason}); correct it") from None
