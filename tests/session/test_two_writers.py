"""Two writers of one session: neither loses what the other has saved, and both are told."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from commands import Workplace
from examples import CONTEXTS, FACTS, quiet, small
from tiny import tiny_model

from alphaedit_core.errors import SessionError
from alphaedit_core.session import files as session_files
from alphaedit_core.session.session import EditSession

ROOT = Path(__file__).parents[2]

#: Holds a session's folder until it is ended.
HOLD = """
import sys, time
from pathlib import Path
from alphaedit_core.session import files as session_files
with session_files.locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def saved(tmp_path: Path, cache: Path) -> Path:
    """A session with one edit."""
    session = EditSession(tiny_model(), hyperparameters=small(tmp_path), contexts=CONTEXTS)
    session.edit(FACTS[:1], monitor=quiet())
    session.save(tmp_path / "kept")
    return tmp_path / "kept"


def loaded(folder: Path) -> EditSession:
    return EditSession.load(folder, tiny_model(), monitor=quiet())


def test_the_second_of_two_savers_is_refused_and_both_edits_stay(saved: Path) -> None:
    first, second = loaded(saved), loaded(saved)
    first.edit(FACTS[1:2], monitor=quiet())
    second.edit(FACTS[2:3], monitor=quiet())
    first.save(saved)
    before = (saved / "session.json").read_bytes()
    with pytest.raises(SessionError, match=r"written by somebody else .* 2 edits now, 2 applied"):
        second.save(saved)
    assert (saved / "session.json").read_bytes() == before
    assert [e.facts for e in loaded(saved).history] == [list(FACTS[:1]), list(FACTS[1:2])]
    second.save(saved.with_name("other"))  # the way out that the line names
    assert [e.facts for e in loaded(saved.with_name("other")).history][1] == list(FACTS[2:3])
    first.edit(FACTS[3:4], monitor=quiet())
    first.save(saved)  # who wrote last goes on
    second.save(saved, overwrite=True)
    assert len(loaded(saved).history) == 2


def test_an_undo_of_the_command_is_not_undone_by_a_later_save(
    saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    session, place = loaded(saved), Workplace(tmp_path / "place", capsys)
    assert place.run("undo", "--session", saved).code == 0
    session.rename(1, "mine")
    with pytest.raises(SessionError, match="1 edit now, 0 applied"):
        session.save(saved)
    assert loaded(saved).applied == 0
    assert place.run("redo", "--session", saved).code == 0
    session.save(saved)  # it stands there again as it was seen
    assert loaded(saved).history[0].title == "mine"


def test_a_session_is_not_written_over_by_one_that_never_saw_it(
    saved: Path, tmp_path: Path
) -> None:
    other = EditSession(tiny_model(), hyperparameters=small(tmp_path), contexts=CONTEXTS)
    with pytest.raises(SessionError, match="another session with 1 edit, which would be lost"):
        other.save(saved)
    assert len(loaded(saved).history) == 1


def test_a_folder_that_is_held_is_refused_until_its_holder_is_killed(
    saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    session, place = loaded(saved), Workplace(tmp_path / "place", capsys)
    command = [sys.executable, "-c", HOLD, str(saved)]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        for arguments in (
            ("undo", "--session", saved),
            ("edit", place.facts, "--session", saved),
        ):
            ran = place.run(*arguments)
            assert ran.code == 2 and ran.out == "" and len(ran.err.splitlines()) == 1
            assert "is being written by another process" in ran.err
        with pytest.raises(SessionError, match="another process"):
            session.save(saved)
    finally:
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
    session.save(saved)
    assert loaded(saved).applied == 1 and not (saved / ".lock").exists()


def test_commands_at_once_lose_no_edit(
    tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each either says that it saved its edit, and the edit is there, or that it did not."""
    place = Workplace(tmp_path / "place", capsys)
    kept = tmp_path / "kept"
    assert place.edit(place.facts_file("first.json", FACTS[0]), "--session", kept).code == 0
    running = []
    for fact in FACTS[1:3]:
        facts = place.facts_file(f"{fact.id}.json", fact)
        command = [sys.executable, "-m", "alphaedit_core", "edit", facts, "--session", kept]
        running.append(
            subprocess.Popen(
                [str(part) for part in command],
                cwd=ROOT,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    output = [process.communicate(timeout=300)[1] for process in running]
    codes = [process.returncode for process in running]
    manifest, entries = session_files.load_session(kept)
    facts_there = [fact.id for entry in entries for fact in entry.facts]
    for fact, code, words in zip(FACTS[1:3], codes, output, strict=True):
        assert (fact.id in facts_there) is (code == 0), words
        assert code in (0, 2)
    assert 0 in codes and manifest["applied"] == len(entries) == 1 + codes.count(0)


def test_a_reader_does_not_stumble_over_a_writer(saved: Path) -> None:
    """Files that make way for newer ones between the manifest and its edits are no damage."""
    session = loaded(saved)
    ends = time.monotonic() + 3
    writer = f"""
import sys, time
sys.path.insert(0, {str(ROOT / "tests/helpers")!r})
from examples import quiet
from tiny import tiny_model
from alphaedit_core.session.session import EditSession
session = EditSession.load({str(saved)!r}, tiny_model(), monitor=quiet())
print("ready", flush=True)
ends = time.monotonic() + 3
number = 0
while time.monotonic() < ends:
    session.rename(1, f"title {{number}}")  # a new name: the entry's files are new ones
    session.save({str(saved)!r})
    number += 1
"""
    process = subprocess.Popen(
        [sys.executable, "-c", writer], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    titles = set()
    ends = time.monotonic() + 2.5
    while time.monotonic() < ends:
        titles.add(session_files.load_session(saved)[1][0].title)
    assert process.wait(timeout=60) == 0
    assert len(titles) > 2 and session.applied == 1
