"""What the tests of widgets share: a folder with a cache."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from alphaedit_core.inference.completions import generate_greedy
from alphaedit_core.session import outcomes


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a cache that the tests of one file share; completions there are short."""
    folder = tmp_path_factory.mktemp("widgets")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALPHAEDIT_CACHE", str(folder / "cache"))
        patch.setattr(
            outcomes, "generate_greedy", lambda *a, **k: generate_greedy(*a, **{**k, "tokens": 2})
        )
        yield folder
