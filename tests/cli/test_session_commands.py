"""The commands history, undo, redo and complete."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from commands import Workplace
from examples import FACTS


class TestSessions:
    def test_an_undone_edit_leaves_no_trace_in_the_next(self, place: Workplace) -> None:
        a, b, c = (place.facts_file(f"{i}.json", FACTS[i]) for i in range(3))
        s, t = place.folder / "s", place.folder / "t"
        for facts in (a, b):
            assert place.edit(facts, "--session", s).code == 0
        undone = place.run("undo", "--session", s)
        assert (undone.code, undone.err) == (0, "")
        assert undone.out == (
            f"undone: {FACTS[1].text} → {FACTS[1].target}; 1 of 2 edits applied\n"
        )
        # Continues without the model and its settings.
        first = place.run("edit", c, "--session", s, "--json").json
        place.edit(a, "--session", t)
        second = place.edit(c, "--session", t, "--json").json
        assert first["weights_digest"] == second["weights_digest"]
        assert first["edits"] == second["edits"] == 2

    def test_replaced_facts_are_reported_unless_both_are_kept(self, place: Workplace) -> None:
        other = FACTS[0].changed(target="Berlin")
        first, second = (place.facts_file(f"r{i}.json", f) for i, f in enumerate((FACTS[0], other)))
        session = place.folder / "corrected"
        assert "replaced:" not in place.edit(first, "--session", session).out
        line = f"“{other.text} Berlin” replaces “{other.text} {FACTS[0].target}” of edit 1"
        assert f"replaced: {line}" in place.run("edit", second, "--session", session).out
        place.run("undo", "--session", session)
        command = ("edit", second, "--session", session, "--keep-both", "--json")
        kept = place.run(*command).json
        assert kept["superseded"] == []
        assert kept["facts"][0]["fact"]["replaces"] == "nothing"
        place.run("undo", "--session", session)
        [superseded] = place.run(*command[:-2], "--json").json["superseded"]
        assert superseded["edit"] == 1 and superseded["by"] == other.to_dict()

    def test_undo_and_redo_change_the_completion(self, place: Workplace) -> None:
        session = place.folder / "s"
        place.edit(place.facts, "--session", session, "--set", "target_steps=25")
        prompt = FACTS[0].text
        complete = ("complete", prompt, "--tokens", 8, "--json")
        plain = place.run(*complete, "--model", place.model).json
        edited = place.run(*complete, "--session", session).json
        assert (plain["edits"], edited["edits"]) == (0, 1)
        assert plain["completion"] != edited["completion"]

        assert place.run("undo", "--session", session, "--json").json["applied"] == 0
        undone = place.run(*complete, "--session", session).json
        assert undone["completion"] == plain["completion"]
        assert place.run("redo", "--session", session).out.startswith("redone: ")
        assert place.run(*complete, "--session", session).json["completion"] == edited["completion"]

    def test_undo_and_redo_do_not_need_the_model(self, place: Workplace) -> None:
        session = place.folder / "s"
        place.edit(place.facts, "--session", session)
        place.model.rename(place.folder / "elsewhere")
        for command in ("undo", "redo", "history"):
            assert place.run(command, "--session", session).code == 0
        assert place.run("complete", "Rome", "--session", session).code == 2
        moved = place.folder / "elsewhere"
        assert place.run("complete", "Rome", "--session", session, "--model", moved).code == 0

    def test_history(self, place: Workplace) -> None:
        session = place.folder / "s"
        place.edit(place.facts, "--session", session)
        place.edit(place.facts_file("one.json", FACTS[0]), "--session", session)
        place.run("undo", "--session", session)
        shown = place.run("history", "--session", session).out.splitlines()[2:]
        assert [line.split()[:2] for line in shown[:2]] == [["undone", "2"], ["current", "1"]]
        report = place.run("history", "--session", session, "--json").json
        assert report["model"] == str(place.model)
        assert [edit["applied"] for edit in report["edits"]] == [True, False]
        assert [len(edit["facts"]) for edit in report["edits"]] == [4, 1]

    def test_history_reads_json_only_and_imports_no_torch(self, place: Workplace) -> None:
        session = place.folder / "s"
        place.edit(place.facts, "--session", session)
        shown = place.run("history", "--session", session).out
        for file in session.glob("*.safetensors"):
            file.unlink()
        code = (
            "import sys; from alphaedit_core.cli import main\n"
            "code = main(['history', '--session', sys.argv[1]])\n"
            "sys.exit(code or {'torch', 'transformers', 'numpy'} & set(sys.modules) or 0)"
        )
        ran = subprocess.run([sys.executable, "-c", code, session], capture_output=True, text=True)
        assert (ran.returncode, ran.stdout, ran.stderr) == (0, shown, "")

    def test_a_session_is_found_from_another_folder(
        self, place: Workplace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.chdir(place.folder)
        own = ("--config", place.config, "--set", "text=text.txt", "--session", "s")
        assert place.run("edit", place.facts, "--model", "tiny", *own).code == 0
        monkeypatch.chdir(tmp_path)
        assert place.run("edit", place.facts, "--session", place.folder / "s").code == 0
