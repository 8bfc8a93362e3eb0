"""``--editor``, its switches, ``--config``, ``--set`` and ``--seed``, checked before any work."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from json import JSONDecodeError
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alphaedit_core.errors import InputError, SessionError
from alphaedit_core.storage.json_text import parse_json, read_text

if TYPE_CHECKING:
    from alphaedit_core.editing.hyperparameters import HyperParameters


def add(parser: argparse.ArgumentParser) -> None:
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


def add_changes(parser: argparse.ArgumentParser) -> None:
    """Declare those that are not about the editor."""
    parser.add_argument("--seed", metavar="S", help="seed of everything sampled (0)")
    parser.add_argument(
        "--config", metavar="FILE", help="JSON object of hyperparameters, on top of the preset"
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
        InputError: for a file that cannot be read, a field that does not exist or a value that
            cannot be used with any model.
    """
    asked: dict[str, Any] = {}
    if arguments.config is not None:
        for name, value in _read(Path(arguments.config)).items():
            asked[name] = _checked(f"config {arguments.config}", name, value)
    for name in ("editor", "projection", "previous_keys"):
        given = getattr(arguments, name, None)
        if given is not None:
            asked[name] = _checked(f"--{name.replace('_', '-')}", name, given)
    if asked.get("previous_keys"):
        from alphaedit_core.editing.editors.registry import editor_class

        name = asked.get("editor", "alphaedit")
        if editor_class(name).previous_keys is None:
            raise InputError(f"--previous-keys: means nothing for the editor {name}; leave it out")
    if arguments.seed is not None:
        asked["seed"] = _checked("--seed", "seed", arguments.seed)
    for text in arguments.set:
        name, equals, value = text.partition("=")
        if not equals:
            raise InputError(f'--set "{text}" has no value; give FIELD=VALUE such as ridge=1')
        asked[name.strip()] = _checked("--set", name.strip(), value.strip())
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


def applied_to(preset: HyperParameters, asked: Mapping[str, Any]) -> HyperParameters:
    """A preset with what was asked for; ``origin`` says what that was."""
    if not asked:
        return preset
    origin = f"{preset.origin}; changed: {', '.join(sorted(asked))}"
    return preset.replace(**{"origin": origin, **asked})


def require_same(kept: HyperParameters, asked: Mapping[str, Any], session: str) -> None:
    """Refuse to continue a session with other hyperparameters than its own.

    Raises:
        SessionError: naming the first field that differs.
    """
    wanted = kept.replace(**asked).to_dict()
    for name, own in kept.to_dict().items():
        if wanted[name] != own:
            raise SessionError(
                f"session {session}: its {name} is {_shown(own)}, not {_shown(wanted[name])}; "
                "leave that out, or give a new folder"
            )


def _checked(source: str, name: str, value: Any) -> Any:
    """A value that some model could be edited with; paths made absolute for sessions to keep."""
    from alphaedit_core.corpora.sources import open_text
    from alphaedit_core.editing.hyperparameters import HyperParameters, typed

    try:
        valid = typed(name, value)
        # One layer for each value of a field that has as many as there are layers.
        layers = range(max(1, len(valid) if isinstance(valid, tuple) else 1))
        valid = getattr(HyperParameters(layers=tuple(layers)).replace(**{name: valid}), name)
        if name == "editor":
            from alphaedit_core.editing.editors.registry import editor_class

            editor_class(valid)
        if name == "text" and valid != "self":
            open_text(valid)
            return str(Path(valid).resolve()) if Path(valid).is_file() else valid
    except InputError as error:
        raise InputError(f"{source}: {error}") from None
    return valid


def _read(file: Path) -> dict[str, Any]:
    try:
        content = parse_json(read_text(file))
    except OSError as error:
        raise InputError(
            f"config {file}: cannot be read ({error.strerror}); give a JSON file"
        ) from None
    except UnicodeDecodeError as error:
        raise InputError(
            f"config {file}: not UTF-8 at byte {error.start}; save it in UTF-8"
        ) from None
    except JSONDecodeError as error:
        raise InputError(
            f"config {file}: not valid JSON at line {error.lineno}, column {error.colno} "
            f"({error.msg}); correct it there"
        ) from None
    if not isinstance(content, dict):
        raise InputError(f'config {file}: holds no object; write for example {{"ridge": 1}}')
    return content


def _shown(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
