"""Fixtures of the display tests: a session of hostile texts and one of harmless texts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hostile_texts import EVIL, TAME, session_of

from alphaedit_core.session.session import EditSession


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a cache, shared by the tests of one module."""
    folder = tmp_path_factory.mktemp("escaping")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALPHAEDIT_CACHE", str(folder / "cache"))
        yield folder


@pytest.fixture(scope="module")
def hostile(place: Path) -> EditSession:
    """A session in which every text is hostile."""
    return session_of(EVIL, place)


@pytest.fixture(scope="module")
def tame(place: Path) -> EditSession:
    """The same session with a harmless text."""
    return session_of(TAME, place)
