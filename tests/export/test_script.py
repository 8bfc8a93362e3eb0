"""The exported script makes the same weights in a process of its own; the record says it all."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from examples import CONTEXTS, FACTS, quiet, small
from tiny import tiny_model

from alphaedit_core import __version__
from alphaedit_core.data.facts import Fact
from alphaedit_core.editing.configs import config_from_dict, make_config
from alphaedit_core.export.script import to_python, to_record
from alphaedit_core.inference.completions import generate_greedy
from alphaedit_core.model.loading import load_model
from alphaedit_core.session import outcomes
from alphaedit_core.session.session import EditSession

ROOT = Path(__file__).parents[2]
EVIL = Fact(
    'O\'Brien "the\u202e {x} """', "# {} \\ is\nin", "東京\u2028都", paraphrases=['"""\n{}', "{}\\"]
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a tiny model, a text, and a cache."""
    folder = tmp_path_factory.mktemp("reproduce")
    model = tiny_model("llama")
    model.model.save_pretrained(folder / "tiny")
    model.tokenizer.save_pretrained(folder / "tiny")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALPHAEDIT_CACHE", str(folder / "cache"))
        patch.setattr(outcomes, "generate_greedy", partial(generate_greedy, tokens=2))
        yield folder


def new_session(place: Path, contexts: tuple[str, ...] | None = CONTEXTS) -> EditSession:
    model = load_model(place / "tiny", "cpu", monitor=quiet())
    hyperparameters = small(place, contexts=2, context_tokens=4)
    return EditSession(model, hyperparameters=hyperparameters, contexts=contexts)


@pytest.fixture(scope="module")
def edited(place: Path) -> EditSession:
    """Two edits with other batches and numbers, and one that is undone."""
    session = new_session(place)
    session.edit(FACTS[:3], batch_size=2, monitor=quiet())
    session.hyperparameters = session.hyperparameters.replace(threshold="rank:20", ridge=2.5)
    session.edit([FACTS[3]], monitor=quiet())
    session.rename(2, "second\u202e one")
    session.edit([FACTS[0].changed(target="Oslo")], monitor=quiet())
    session.undo()
    return session


def run(script: str, place: Path) -> subprocess.CompletedProcess[str]:
    """The script as a fresh process runs it, without the tests' own folder or the widgets."""
    file = place / "script.py"
    file.write_text(script, encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"}
    return subprocess.run(
        [sys.executable, str(file)],
        capture_output=True, text=True, encoding="utf-8", env=environment, cwd=place, timeout=120,
        check=False,
    )  # fmt: skip


def values(source: str) -> dict[str, list[ast.Call]]:
    """Calls in a script, by what is called."""
    calls: dict[str, list[ast.Call]] = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            calls.setdefault(ast.unparse(node.func), []).append(node)
    return calls


def facts_in(source: str) -> list[Fact]:
    """The facts that a script would make, in its order."""
    calls = sorted(values(source).get("Fact", []), key=lambda call: (call.lineno, call.col_offset))
    return [eval(ast.unparse(call), {"Fact": Fact}) for call in calls]


def test_a_fresh_process_makes_the_same_weights(edited: EditSession, place: Path) -> None:
    ran = run(to_python(edited), place)
    assert ran.returncode == 0, ran.stderr
    output = ran.stdout.splitlines()
    assert output == [
        f"edit {number}: the recorded weights, bit for bit ({edited.history[number - 1].digest})"
        for number in (1, 2)
    ]
    assert edited.history[1].digest == edited.weights_digest()


def test_other_weights_are_told_and_do_not_stop_it(edited: EditSession, place: Path) -> None:
    source = (
        to_python(edited)
        .replace("ridge=2.5", "ridge=2.75")
        .replace(edited.model.fingerprint, "0" * 32)
    )
    # In this process, which is quicker; the widgets play no part in it.
    printed: list[str] = []
    exec(
        compile(source, "script", "exec"), {"print": lambda *words: printed.append(" ".join(words))}
    )
    assert "other weights than the recorded one" in printed[0]
    assert "edit 1: the recorded weights" in printed[1]
    assert "recorded were " + edited.weights_digest() in printed[2]


def test_the_script_names_everything(edited: EditSession) -> None:
    source = to_python(edited)
    calls = values(source)
    assert facts_in(source) == [*FACTS[:3], FACTS[3]]
    assert [k.value.value for c in calls["session.edit"] for k in c.keywords] == [2, 1]  # type: ignore[attr-defined]
    given = {k.arg: ast.literal_eval(k.value) for k in calls["make_config"][0].keywords if k.arg}
    assert make_config(**given) == edited.history[0].hyperparameters
    changed = {
        k.arg: ast.literal_eval(k.value)
        for k in calls["session.hyperparameters.replace"][0].keywords
    }
    assert changed == {"threshold": "rank:20", "ridge": 2.5}
    contexts = [k for k in calls["EditSession"][0].keywords if k.arg == "contexts"]
    assert ast.literal_eval(contexts[0].value) == list(CONTEXTS)
    assert "# Edit 2: second" in source and "Oslo" not in source
    assert "ipywidgets" not in source and "widgets import" not in source


def test_sampled_contexts_are_given_once_they_are_known(place: Path) -> None:
    session = new_session(place, contexts=None)
    assert "contexts=[" not in to_python(session) and "are sampled" in to_python(session)
    session.edit(FACTS[:1], monitor=quiet())
    source = to_python(session)
    known = [k for k in values(source)["EditSession"][0].keywords if k.arg == "contexts"]
    assert ast.literal_eval(known[0].value) == list(session.contexts)
    assert f"check({session.weights_digest()!r})".replace("'", '"') in source
    # With another seed afterwards, those of the edit are not known any more.
    session.hyperparameters = session.hyperparameters.replace(seed=3)
    assert "contexts=[" not in to_python(session)


def test_facts_that_are_not_applied(place: Path) -> None:
    session = new_session(place)
    bare = to_python(session)
    assert "session.edit" not in bare and "check(" not in bare
    compile(bare, "script", "exec")
    session.hyperparameters = session.hyperparameters.replace(target_steps=2)
    source = to_python(session, FACTS[:2])
    assert facts_in(source) == list(FACTS[:2])
    exec(compile(source, "script", "exec"), {"print": lambda *_: None})


def test_no_text_can_get_out_of_its_literal(place: Path) -> None:
    session = new_session(place)
    session.edit(FACTS[:1], monitor=quiet())
    session.rename(1, "x\u202e\x07y")
    session.model.name = "tiny\nimport os  # \u202e"
    source = to_python(session, [EVIL])
    assert facts_in(source) == [FACTS[0], EVIL]
    assert all(c.isprintable() or c == "\n" for c in source)
    modules = [ast.unparse(n) for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Import)]
    assert modules == ["import torch"]


def test_a_long_line_is_broken(edited: EditSession) -> None:
    long = FACTS[0].changed(neighbors=[f"The city number {n} is in the land of" for n in range(6)])
    lines = to_python(edited, [long]).splitlines()
    assert max(map(len, lines)) <= 120
    assert facts_in("\n".join(lines))[-1] == long


def test_the_record(edited: EditSession) -> None:
    record = json.loads(json.dumps(to_record(edited, [EVIL])))
    assert record["schema"] == "alphaedit record 1"
    assert record["model"] == edited.model.name and record["editor"] == "alphaedit"
    assert record["fingerprint"] == edited.model.fingerprint
    assert record["seeds"] == [0]
    assert record["made_with"]["torch"] == torch.__version__
    assert record["made_with"]["alphaedit"] == __version__
    assert set(record["made_with"]) >= {"transformers", "python", "threads", "device"}
    assert config_from_dict(record["hyperparameters"]) == edited.hyperparameters
    assert record["applied"] == 2 and [e["applied"] for e in record["edits"]] == [True, True, False]
    assert [edit["batches"] for edit in record["edits"]] == [[2, 1], [1], [1]]
    assert [edit["weights_digest"] for edit in record["edits"]] == [
        entry.digest for entry in edited.history
    ]
    outcomes = [one for edit in record["edits"][:2] for one in edit["outcomes"]]
    assert [Fact.from_dict(one["fact"]) for one in outcomes] == [*FACTS[:3], FACTS[3]]
    assert outcomes[0]["after"]["new"]["probability"] > 0
    assert [Fact.from_dict(fact) for fact in record["drafts"]] == [EVIL]
    assert record["contexts"] == list(CONTEXTS)


def test_the_manifest_is_what_is_saved(edited: EditSession, tmp_path: Path) -> None:
    edited.save(tmp_path / "session")
    stored = json.loads((tmp_path / "session" / "session.json").read_text("utf-8"))
    assert {name: stored[name] for name in edited.manifest()} == edited.manifest()
