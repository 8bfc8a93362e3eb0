"""Reference texts: texts about entities with a given target, such as people who speak French."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from json import JSONDecodeError
from pathlib import Path

from alphaedit_core.errors import InputError
from alphaedit_core.messages import kind, shown
from alphaedit_core.storage.json_text import parse_json, read_text

from .facts import Fact, spaced
from .joining import bare

_LAYOUT = (
    'give an object of targets with lists of texts, {"French": ["…"]}, or one such object for each '
    'relation, {"P103": {"French": ["…"]}}'
)


class References:
    """Reference texts by relation and target.

    Args:
        known: lists of texts by target, by relation. The relation "" holds texts of targets for
            any relation.
    """

    def __init__(self, known: Mapping[str, Mapping[str, Sequence[str]]]) -> None:
        self._known = {
            relation: {spaced(target): tuple(texts) for target, texts in targets.items()}
            for relation, targets in known.items()
        }

    def about(self, fact: Fact) -> tuple[str, ...]:
        """Return texts about entities with a fact's relation to its new target; none if unknown."""
        own = _of(bare(fact.target), self._known.get(fact.relation or "", {}))
        return (_of(bare(fact.target), self._known.get("", {})) or ()) if own is None else own

    def to_dict(self) -> dict[str, dict[str, list[str]]]:
        """Return all texts by target, by relation."""
        return {
            relation: {target: list(texts) for target, texts in targets.items()}
            for relation, targets in self._known.items()
        }

    def texts(self) -> list[str]:
        """Return all texts."""
        return [
            text for targets in self._known.values() for own in targets.values() for text in own
        ]


def read_references(path: str | Path) -> References:
    """Read a JSON file of reference texts.

    Args:
        path: the file: an object of targets with lists of texts, or an object of relations with
            such objects.

    Raises:
        InputError: if it cannot be read, or has another layout.
    """
    try:
        content = parse_json(read_text(path, "utf-8-sig"))
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); give a JSON file of reference texts"
        ) from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 at byte {error.start}; save it in UTF-8") from None
    except JSONDecodeError as error:
        raise InputError(
            f"{path}: not JSON (line {error.lineno}: {error.msg}); {_LAYOUT}"
        ) from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: holds {kind(content)}; {_LAYOUT}")
    known: dict[str, dict[str, list[str]]] = {}
    for name, value in content.items():
        if isinstance(value, dict):
            known[name] = {
                target: _texts(f"{path}: {shown(name)}, {shown(target)}", texts)
                for target, texts in value.items()
            }
        else:
            known.setdefault("", {})[name] = _texts(f"{path}: {shown(name)}", value)
    return References(known)


def _texts(place: str, value: object) -> list[str]:
    if not isinstance(value, list):
        raise InputError(f"{place}: is {kind(value)}; {_LAYOUT}")
    for number, text in enumerate(value, 1):
        if not isinstance(text, str):
            raise InputError(f"{place}: text {number} is {kind(text)}; {_LAYOUT}")
    return value


def _of(target: str, known: Mapping[str, tuple[str, ...]]) -> tuple[str, ...] | None:
    """Return the texts of a target; if case differs, those of the only target that matches."""
    if (exact := known.get(spaced(target))) is not None:
        return exact
    matches = [name for name in known if name.casefold() == spaced(target).casefold()]
    return known[matches[0]] if len(matches) == 1 else None
