"""Edited models for use elsewhere: a Hugging Face directory that loads without this project."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from alphaedit_core._version import __version__
from alphaedit_core.data.superseding import Standing
from alphaedit_core.display.escaping import markdown, markdown_code, python_text
from alphaedit_core.errors import CorruptFileError, InputError, SessionError
from alphaedit_core.model.model_sources import quiet_transformers
from alphaedit_core.progress import Monitor
from alphaedit_core.storage.files import (
    atomic_folder,
    check_name,
    portable_name,
    read_json,
    write_atomic,
    write_json_atomic,
)
from alphaedit_core.storage.tensor_files import give_usual_mode

if TYPE_CHECKING:
    from alphaedit_core.data.facts import Fact
    from alphaedit_core.session.session import EditSession

FORMAT = "alphaedit model 1"
MARKER = "alphaedit.json"
"""The file in an exported model that says what was edited, and that the folder is ours."""

_CARD = "README.md"


def check_folder(folder: str | Path) -> None:
    """Refuse a place that a model cannot be written to without loss.

    A place is good if nothing is there, or an empty folder, or an earlier export that nothing was
    added to: an export is replaced as a whole.

    Raises:
        InputError: if something else is there, or its name is longer than file systems take.
    """
    place = Path(folder)
    check_name("output folder", place)
    if not place.exists():
        return
    if not place.is_dir():
        raise InputError(f"output folder {folder}: is a file; give a new folder")
    foreign = sorted({path.name for path in place.iterdir()} - _written_names(place))
    if foreign:
        raise InputError(
            f"output folder {folder}: exists and holds "
            f'"{foreign[0]}", which no export wrote; give a new folder'
        )


def model(session: EditSession, folder: str | Path, monitor: Monitor | None = None) -> None:
    """Write the model as it stands, with its tokenizer, as a Hugging Face directory.

    The weights are safetensors in the dtype of the session; the tokenizer comes with its chat
    template, and generation settings are kept. ``AutoModelForCausalLM.from_pretrained`` loads the
    directory. ``alphaedit.json`` in it lists the edits, and ``README.md`` is a model card.

    Args:
        session: a session that holds its model.
        folder: a new folder, an empty one, or an earlier export, which is replaced.
        monitor: what to report to.

    Raises:
        SessionError: if the session is closed: its model may then hold other edits; or if weights
            were changed by hand, of which the record would not know.
        InputError: if something else stands in ``folder``.
        OSError: if it cannot be written; what stood there still stands.
    """
    monitor = monitor or Monitor()
    place = Path(folder).resolve()
    with session.model.exclusive():  # nobody edits what is being written
        if session.model.owner is not session:
            raise SessionError("this session is closed; load or make a new one")
        session.check_weights()
        check_folder(folder)
        _write(session, place, monitor)


def _write(session: EditSession, place: Path, monitor: Monitor) -> None:
    with (
        monitor.stage("saving the model", 1),
        quiet_transformers(),
        atomic_folder(place) as new,
    ):
        session.model.model.save_pretrained(new)
        give_usual_mode(*new.glob("*.safetensors"))
        session.model.tokenizer.save_pretrained(new)
        monitor.advance()
        record = _record(session)
        write_atomic(new / _CARD, _card(record, place.name, facts_in_model(session)))
        record["files"] = sorted([path.name for path in new.iterdir()] + [MARKER])
        write_json_atomic(new / MARKER, record)
        check_folder(place)  # saving takes minutes, in which somebody may have put something there


def _written_names(folder: Path) -> set[str]:
    """Names of the files that an export wrote here; none if there was no export."""
    try:
        record = read_json(folder / MARKER)
        return set(record["files"]) if record["format"] == FORMAT else set()
    except (OSError, CorruptFileError, KeyError, TypeError):
        return set()


def facts_in_model(session: EditSession) -> list[Fact]:
    """The facts of all applied edits that no later one has superseded."""
    applied = session.history[: session.history.applied]
    return Standing(batch for entry in applied for batch in entry.batches).facts


def _record(session: EditSession) -> dict[str, Any]:
    applied = session.history[: session.applied]
    last = applied[-1].hyperparameters if applied else session.hyperparameters
    hyperparameters = last.to_dict()
    hyperparameters["text"] = portable_name(hyperparameters["text"])
    return {
        "format": FORMAT,
        "alphaedit": __version__,
        "model": portable_name(session.model.name),
        "fingerprint": session.model.fingerprint,
        "dtype": str(session.model.dtype).removeprefix("torch."),
        "method": session.methods,
        "hyperparameters": hyperparameters,
        "weights_digest": session.weights_digest(),
        "facts": [fact.to_dict() for fact in facts_in_model(session)],
    }


def _card(record: dict[str, Any], name: str, facts: list[Fact]) -> str:
    """A model card: what was edited, how, and how to load the result."""
    rows = "".join(f"| {markdown(fact.text)} | {markdown(fact.target)} |\n" for fact in facts)
    own = python_text(name)
    layers = ", ".join(map(str, record["hyperparameters"]["layers"]))
    count = f"{len(facts)} fact{'' if len(facts) == 1 else 's'}"
    return (
        f"# {markdown(name)}\n\n"
        f"{markdown_code(record['model'])} (weights `{record['fingerprint']}`) with {count} edited "
        f"in by {markdown(record['method'])}, AlphaEdit workbench {record['alphaedit']}. "
        f"Changed are the MLP down-projections of blocks {layers}; `{MARKER}` holds facts and "
        "hyperparameters in full. "
        "The license is that of the original model.\n\n"
        "| prompt | now says |\n|---|---|\n"
        f"{rows}\n"
        "```python\n"
        "from transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
        f"model = AutoModelForCausalLM.from_pretrained({own})\n"
        f"tokenizer = AutoTokenizer.from_pretrained({own})\n"
        "```\n"
    )
