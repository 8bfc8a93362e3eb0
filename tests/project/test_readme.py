"""The README: its commands and links exist, its Python runs, and its lists are complete."""

from __future__ import annotations

import ast
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from contextlib import redirect_stdout
from importlib import import_module
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from pkgutil import walk_packages
from typing import Any

import pytest
from published import PUBLISHED

import alphaedit_core
import alphaedit_widgets
from alphaedit_core import EditResult, EditSession, Spectrum
from alphaedit_core.cli import _parser
from alphaedit_core.data.datasets.registry import dataset, datasets
from alphaedit_core.data.fact_files import read_facts
from alphaedit_core.data.reference_texts import References
from alphaedit_core.editing.configs import field_editors, make_config
from alphaedit_core.editing.editors.registry import editors
from alphaedit_core.errors import InputError
from alphaedit_core.evaluation.metrics.base import Metric, MetricContext
from alphaedit_core.evaluation.metrics.registry import metrics
from alphaedit_core.export import hugging_face as export
from alphaedit_widgets.components.panel import Panel

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def commands(program: str) -> list[list[str]]:
    """Return the words of every command line of a program, indented or in backticks."""
    lines = re.findall(rf"^    (?:\.venv/bin/)?({program} .*)$", README, re.MULTILINE)
    lines += re.findall(rf"`({program} [^`]*)`", README)
    return [shlex.split(line, comments=True)[1:] for line in lines]


def section(title: str) -> str:
    return README.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def test_every_make_target_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    named = [words[0] for words in commands("make")]
    assert {"workbench", "test", "install", "bench"} <= set(named) <= targets


@pytest.mark.parametrize("words", commands("alphaedit"), ids=" ".join)
def test_every_command_parses(words: list[str]) -> None:
    _parser().parse_args(words)


def test_every_subcommand_is_shown() -> None:
    shown = {words[0] for words in commands("alphaedit")}
    assert shown == {
        *("edit", "complete", "history", "undo", "redo"),
        *("ability", "retention", "experiment", "evaluate", "metrics"),
        *("editors", "compare", "datasets", "statistics", "spectrum", "models", "fetch"),
        *("workbench", "tutorials"),
    }
    with pytest.raises(InputError):
        _parser().parse_args(["edti", "examples"])


def test_fields_of_set_exist() -> None:
    settings = [words[at + 1] for words in commands("alphaedit") for at in positions(words)]
    assert settings
    for setting in settings:
        name, _, value = setting.partition("=")
        layers = range(value.count(",") + 1)
        make_config(field_editors()[name][0], layers=layers, **{name: value})


def positions(words: list[str]) -> list[int]:
    return [at for at, word in enumerate(words) if word == "--set"]


def test_example_file_has_a_fact(tmp_path: Path) -> None:
    [text] = blocks("json")
    (tmp_path / "facts.json").write_text(text, encoding="utf-8")
    [fact] = read_facts(tmp_path / "facts.json")
    assert fact.neighbors and fact.paraphrases
    count = re.search(r"`examples` are (\d+) facts", README)
    assert count and int(count[1]) == len(read_facts("examples"))


def test_every_name_exists() -> None:
    homes = {
        "session": EditSession,
        "result": EditResult,
        "spectrum": Spectrum,
        "export": export,
        "EditSession": EditSession,
    }
    named = set(re.findall(r"\b(\w+)\.(\w+)", " ".join(re.findall(r"`([^`\n]+)`", README))))
    attributes = {(home, name) for home, name in named if home in homes}
    assert len(attributes) > 10
    for home, name in attributes:
        known = {*dir(homes[home]), *getattr(homes[home], "__dataclass_fields__", ())}
        assert name in known, f"{home}.{name}"
    table = section("The library")
    for name in re.findall(r"`(\w+)\(", table) + re.findall(r"`(\w+)`", table):
        assert name in alphaedit_core.__all__, name
    for name in re.findall(r"\| `(\w+)` \|$", section("Which λ is which"), re.MULTILINE):
        assert name in field_editors(), name


def test_every_data_set_is_named() -> None:
    table = [line for line in section("Data sets").splitlines() if line.startswith("| `")]
    named = [name for line in table for name in re.findall(r"`([\w-]+)`", line.split("|")[1])]
    assert named == list(datasets())


def test_rows_name_prompts_that_no_metric_uses() -> None:
    """A row names unused prompts if and only if no metric queries a group of probes."""
    rows = [line for line in section("Data sets").splitlines() if line.startswith("| `")]
    documented = {
        name: "not used by a metric" in row
        for row in rows
        for name in re.findall(r"`([\w-]+)`", row.split("|")[1])
    }
    unqueried = {name: groups_no_metric_queries(name) for name in datasets()}
    assert unqueried["counterfact"] == {"attribute"}
    assert documented == {name: bool(kinds) for name, kinds in unqueried.items()}


def groups_no_metric_queries(name: str) -> set[str]:
    """Return the groups of a data set's probes whose prompts no metric queries."""
    record = dataset(name).record(PUBLISHED[name], "record 1")
    texts = References({"": {fact.target: ("A text.",) for fact in record.facts}})
    context = MetricContext(texts, before={}, chat=True)
    instances = [metric(context) for metric in metrics().values() if issubclass(metric, Metric)]
    queried = {query.prompt for metric in instances for query in metric.queries(record)}
    fact_prompts = {fact.text for fact in record.facts}
    return {probe.group for probe in record.probes if probe.prompt not in queried - fact_prompts}


def test_every_metric_is_named() -> None:
    """``score`` occurs in the text of its row, the others in the column of names."""
    assert set(re.findall(r"`(\w+)`", section("Metrics").split("```")[0])) >= set(metrics())


def test_every_editor_is_in_its_table() -> None:
    table = [line for line in section("Editors").splitlines() if line.startswith("| `")]
    named = [name for line in table for name in re.findall(r"`([\w-]+)`", line.split("|")[1])]
    assert sorted(named) == sorted(editors())
    count = ["ten", "eleven", "twelve", "thirteen"][len(editors()) - 10]
    assert f"| {count} editors, " in (ROOT / "notebooks/README.md").read_text(encoding="utf-8")


def test_every_tab_is_in_the_table() -> None:
    table = section("The workbench").split("| tab |", 1)[1].split("\n\n", 1)[0]
    named = [line.split("|")[1].strip() for line in table.splitlines()[2:]]
    titles = {panel.title for panel in panels()}
    assert set(named) == titles - {"Workbench", "Session"}  # these contain the tabs


def test_every_import_of_the_python_blocks_exists() -> None:
    for block in blocks("python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom):
                # The extra harness is not part of dev.
                if str(node.module).startswith("lm_eval") and find_spec("lm_eval") is None:
                    continue
                home = (
                    "alphaedit_core.editing.editors." if node.level else ""
                )  # of the new editor's file
                for name in node.names:
                    assert getattr(import_module(f"{home}{node.module}"), name.name)


def test_new_editor_of_the_readme_appears_everywhere(tmp_path: Path) -> None:
    """One file in the editors' folder adds it to API, command, workbench and comparison."""
    [code] = [block for block in blocks("python") if "class Ridge" in block]
    assert len([line for line in code.splitlines() if line.strip()]) <= 20
    for package in ("alphaedit_core", "alphaedit_widgets"):
        shutil.copytree(ROOT / package, tmp_path / package)
    (tmp_path / "alphaedit_core/editing/editors/ridge.py").write_text(code, encoding="utf-8")
    (tmp_path / "try.py").write_text(
        """
import sys
from pathlib import Path

sys.path.insert(0, sys.argv[1])
from examples import CONTEXTS, FACTS, quiet, small
from tiny import tiny_model

from alphaedit_core import EditSession, compare_editors, with_editor
from alphaedit_core.cli import main
from alphaedit_widgets import EditorsPanel, EditPanel

hp = small(Path(sys.argv[2]), editor="ridge", previous_keys=False)
for projection in (True, False):
    model = tiny_model("llama")
    session = EditSession(model, hyperparameters=hp.replace(projection=projection),
                          contexts=CONTEXTS[:1])
    session.edit(FACTS, monitor=quiet())
    assert session.history[0].hyperparameters.editor == "ridge"
    session.undo()
comparison = compare_editors(session, FACTS, [hp, with_editor(hp, "memit")], monitor=quiet())
assert comparison.rows()[1][0] == "ridge +projection -previous-keys"
assert "ridge" in EditPanel(session).method.editor.options
assert "ridge" in EditorsPanel(session).controls[0].editor.options
assert main(["editors"]) == 0
""",
        encoding="utf-8",
    )
    ran = subprocess.run(
        [sys.executable, "try.py", str(ROOT / "tests/helpers"), str(tmp_path)],
        cwd=tmp_path,
        env=os.environ | {"ALPHAEDIT_CACHE": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    assert re.search("^ridge .*The smallest update", ran.stdout, re.MULTILINE)


def test_first_example_prints_the_shown_output() -> None:
    code, shown = blocks("python")[0], blocks("text")[0]
    out = StringIO()
    space: dict[str, Any] = {"__name__": "readme"}
    with redirect_stdout(out):
        exec(compile(code, "README.md", "exec"), space)
    session = space["session"]
    assert isinstance(session, EditSession)
    assert (session.history.applied, len(session.history)) == (0, 1)
    assert words_of(out.getvalue()) == words_of(shown)
    session.close()


def words_of(table: str) -> list[list[str]]:
    """Return the first words of every cell, without digits that differ between processors."""
    table = re.sub(r"\d+\.\d+( s)?", "#", table)
    rows = [re.split(r"  +", line) for line in table.splitlines() if line and "─" not in line]
    return [[" ".join(re.findall(r"\w+", cell)[:2]) for cell in row] for row in rows]


def test_longer_example_runs() -> None:
    space: dict[str, Any] = {"__name__": "readme"}
    [code] = [block for block in blocks("python") if "collect_statistics" in block]
    exec(compile(code, "README.md", "exec"), space)
    assert space["session"].last_result is space["result"]
    assert space["result"].written == len(space["facts"])
    assert space["spectrum"].leakage("energy:0.2") == pytest.approx(0.2, abs=0.001)
    space["session"].close()


def test_every_link_resolves() -> None:
    links = re.findall(r"\]\(([^)]+)\)", README)
    local = [link for link in links if not link.startswith("https://")]
    assert {"docs/compare.png", "notebooks/workbench.ipynb"} <= set(local)
    for link in local:
        file, _, heading = link.partition("#")
        assert (ROOT / file).is_file(), link
        titles = re.findall(r"^#+ (.*)$", (ROOT / file).read_text("utf-8") if heading else "", re.M)
        assert not heading or heading in [title.lower() for title in titles], link
    for alt in re.findall(r"!\[([^]]*)\]", README):
        assert len(alt) > 40, "an image needs a description"
    for image in (ROOT / "docs").glob("*.png"):
        assert image.stat().st_size < 300_000
        assert f"docs/{image.name}" in local


def test_package_list_is_complete() -> None:
    """The order is that of the import-linter contract."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        contracts = tomllib.load(file)["tool"]["importlinter"]["contracts"]
    packages = [
        name for name in contracts[0]["layers"] if (ROOT / "alphaedit_core" / name).is_dir()
    ]
    assert re.findall(r"^  (\w+)/ ", section("Where things live"), re.MULTILINE) == packages


def test_every_panel_can_be_imported_from_the_package() -> None:
    # README: each tab is a panel of its own, made from a session.
    assert len(panels()) > 10
    for panel in panels():
        assert getattr(alphaedit_widgets, panel.__name__) is panel


def panels() -> set[type[Panel]]:
    """Return every panel class of the package."""
    modules = walk_packages(alphaedit_widgets.__path__, "alphaedit_widgets.")
    return {
        value
        for module in modules
        for value in vars(import_module(module.name)).values()
        if isinstance(value, type) and issubclass(value, Panel) and value is not Panel
    }
