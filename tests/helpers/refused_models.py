"""Loading without a word, and what is said of a model that is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from alphaedit_core.errors import InputError
from alphaedit_core.model.loading import load_model
from alphaedit_core.progress import Monitor

quiet = Monitor(show=None)


def refused(name: str | Path, **options: Any) -> str:
    """The one line that a model is refused with."""
    with pytest.raises(InputError) as caught:
        load_model(name, monitor=quiet, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message
