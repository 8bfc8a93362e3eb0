"""Files of records of data sets, and what is said of one that is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from published import ZSRE, changed

from alphaedit_core.data.datasets.reading import read_records
from alphaedit_core.errors import InputError
from alphaedit_core.progress import Monitor

quiet = Monitor(show=None)


def write(path: Path, *records: object) -> Path:
    """A file with these records: JSON, or JSONL where its suffix says so."""
    if path.suffix == ".jsonl":
        text = "\n\n".join(json.dumps(record) for record in records)
    else:
        text = json.dumps(records)
    path.write_text(text, encoding="utf-8")
    return path


def refusal(path: Path, name: str, **arguments: Any) -> str:
    """What is said of a file that is refused, after its name; one line, checked."""
    with pytest.raises(InputError) as caught:
        read_records(path, name, monitor=quiet, **arguments)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert message.startswith(f"{path}: ")
    return message.removeprefix(f"{path}: ")


#: A record of zsRE whose subject is not in its prompt …
ABSENT = changed(ZSRE, "subject", to="Eve Brush")
#: … and one whose answer is blank.
BLANK = changed(ZSRE, "answers", 0, to=" ")
