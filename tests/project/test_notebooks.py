"""Stored notebooks: their outputs can be compared, and are shown without a kernel."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest

from tools.clean_notebooks import PLOTLY, WIDGET_VIEW, main

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
TUTORIALS = [path for path in NOTEBOOKS if path.name[:2].isdigit()]
IGNORED = "nbval-ignore-output"

Cell = Any


def code_cells(path: Path) -> list[Cell]:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def named(path: Path) -> str:
    return path.name


def test_notebooks_exist_and_are_clean(capsys: pytest.CaptureFixture[str]) -> None:
    assert [path.name for path in NOTEBOOKS] == [
        "01_first_edit.ipynb", "02_keys_and_covariance.ipynb", "03_null_space.ipynb",
        "04_one_edit_step_by_step.ipynb", "05_a_thousand_edits.ipynb",
        "06_what_an_edit_touches.ipynb", "07_your_own_model.ipynb",
        "08_editing_with_the_workbench.ipynb", "family.ipynb", "reading_the_numbers.ipynb",
        "workbench.ipynb",
    ]  # fmt: skip
    assert main(["--check", str(ROOT / "notebooks")]) == 0, capsys.readouterr().out


@pytest.mark.parametrize("path", NOTEBOOKS, ids=named)
def test_every_cell_has_outputs_to_compare_or_is_tagged(path: Path) -> None:
    for cell in code_cells(path):
        assert cell.execution_count, f"never run: {cell.source}"
        tags = cell.metadata.get("tags", [])
        assert set(tags) <= {IGNORED}, f"unknown tags {tags}"
        assert cell.outputs, f"no output to compare: {cell.source}"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=named)
def test_compared_output_has_no_digits_of_a_trained_model(path: Path) -> None:
    """A compared cell may not end in an edit, because its probabilities differ between machines."""
    for cell in code_cells(path):
        if IGNORED in cell.metadata.get("tags", []):
            continue
        for output in cell.outputs:
            text = "".join(output.get("data", {}).get("text/plain", "")) + output.get("text", "")
            assert "EditResult" not in text, f"tag it {IGNORED}: {cell.source}"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=named)
def test_only_public_modules_are_imported(path: Path) -> None:
    """Two tutorials explain the method step by step and may import its parts."""
    modules: set[str] = set()
    for cell in code_cells(path):
        for node in ast.walk(ast.parse(cell.source)):
            if isinstance(node, ast.ImportFrom):
                modules.add(node.module or "")
            elif isinstance(node, ast.Import):
                modules |= {alias.name for alias in node.names}
    parts = {name for name in modules if name.startswith(("alphaedit_core.", "alphaedit_widgets."))}
    if path.name not in {"03_null_space.ipynb", "04_one_edit_step_by_step.ipynb"}:
        assert parts == set(), "import from alphaedit_core, and make public what a user needs"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=named)
def test_no_progress_bar_or_widget_is_stored(path: Path) -> None:
    for cell in code_cells(path):
        for output in cell.outputs:
            data = output.get("data", {})
            assert WIDGET_VIEW not in data, cell.source
            assert "%|" not in data.get("text/plain", "") + output.get("text", ""), (
                "a progress bar is stored; run the notebook with TQDM_DISABLE=1 set: " + cell.source
            )


def printed_by(path: Path) -> str:
    return "".join(
        output.text
        for cell in code_cells(path)
        for output in cell.outputs
        if output.output_type == "stream"
    )


#: Checks that a notebook needs to catch its faults; see tools/fault_test.py.
CLAIMS = {
    "01_first_edit.ipynb": (
        "rank is the number of eigenvalues below the threshold",
        "leakage is their share of the sum",
        "the update equals Eq. 14",
        "it lies in the kept directions, ΔW P = ΔW",
        "it is zero on the dropped ones, ΔW Q = 0",
        "same weights",
        "the edited weights again",
        "edited again, from the folder",
    ),
    "02_keys_and_covariance.ipynb": (
        "C is the mean of k kᵀ",
        "one pass gives the same as one pass per layer",
        "the first token's key is the longest",
    ),
    "03_null_space.ipynb": (
        "C = V Λ Vᵀ",
        "rank is the number of eigenvalues below the threshold",
        "an eigenvalue equal to the threshold is not below it",
        "leakage is their share of the sum",
        "P x = U Uᵀ x",
        "ΔW P q = 0",
        "text is disturbed less with P than without",
    ),
    "04_one_edit_step_by_step.ipynb": (
        "the library wrote with this key",
        "the loss with the δ that was found equals the search's own",
        "layer 9: large and small form agree",
        "the library's residual",
        "the library's update",
        "the library's update is the complete Eq. 14",
        "A, B, undo, C is A, C, bit for bit",
    ),
    "05_a_thousand_edits.ipynb": (
        "AlphaEdit: the library's update solves its own formula",
        "AlphaEdit: and none of the other three",
        "AlphaEdit without K_p: the library's update solves its own formula",
        "AlphaEdit without P: the library's update solves its own formula",
        "MEMIT: the library's update solves its own formula",
        "at the library's update the gradient is zero",
        "at the update without K_p it is not",
        "MEMIT with previous keys equals it within 1.5 on each measure",
        "every stored run is complete",
        "these two are equal within 1.5 on each measure",
    ),
    "06_what_an_edit_touches.ipynb": (
        "with P nothing is outside",
        "KL matches the formula",
        "the mean shift matches the formula",
        "perplexity, after undo as before",
        "hidden states, after undo as before",
        "answers to the questions, after undo as before",
    ),
    "07_your_own_model.ipynb": (
        "a file with a missing weight is refused by name",
        "the output is W k + b",
        "norm and head give the logits",
        "C is the mean of k kᵀ",
        "other text uses the kept space far more than stated",
        "five blocks from 15 % on",
        "ΔW Q = 0 at each layer, and at most a tenth leaks",
        "noise on the subject hides every fact",
        "the projector stores the thinner basis, at most half of that",
        "a fact takes 4 (2 d + d_out) bytes per layer",
    ),
    "08_editing_with_the_workbench.ipynb": (
        "the panel's shares are |P k|² / |k|²",
        "a lower threshold keeps less, at every layer",
        "nothing along dropped directions",
        "the probabilities match the model's",
        "counting by hand gives the same",
        "the update moves Serbia's output more",
        "the KL on the screen matches the formula",
        "undo gives the unedited weights, bit for bit",
        "redo gives the edited ones",
        "euro is half as likely after neighbors",
        "the session's own weights are back",
        "its weights are the edited ones, bit for bit",
        "the loaded session has the same weights",
    ),
}


@pytest.mark.parametrize("path", TUTORIALS, ids=named)
def test_tutorial_checks_its_claims(path: Path) -> None:
    """All printed checks are True, and the checks that catch a broken formula exist."""
    checks = [
        line.strip().rsplit(": ", 1)
        for line in printed_by(path).splitlines()
        if line.endswith((": True", ": False"))
    ]
    assert {value for _, value in checks} == {"True"}
    assert set(CLAIMS.get(path.name, ())) <= {claim for claim, _ in checks}


@pytest.mark.parametrize("path", TUTORIALS, ids=named)
def test_tutorial_states_topic_time_and_prerequisites(path: Path) -> None:
    title = nbformat.read(path, as_version=4).cells[0].source
    assert title.startswith("# ")
    for part in ("**What you will learn.** ", "**Time.** ", "**Prerequisites.** "):
        assert title.count(part) == 1, part


@pytest.mark.parametrize("path", TUTORIALS, ids=named)
def test_exercises_are_unanswered_with_a_folded_answer(path: Path) -> None:
    cells = nbformat.read(path, as_version=4).cells
    asked = [at for at, cell in enumerate(cells) if cell.source.startswith("answer = None\n")]
    assert len(asked) >= 2
    for at in asked:
        [output] = cells[at].outputs
        assert output.text == "not answered yet\n"
        for words in (r"^def check\(answer\):", "[\"']right", "[\"']wrong"):
            assert re.search(words, cells[at].source, re.MULTILINE), words
        folded = cells[at + 1].source
        assert folded.startswith("<details><summary>An answer</summary>\n\n`answer = ")
        ast.parse(folded.split("`")[1])


def test_links_resolve_and_the_readme_lists_all_notebooks() -> None:
    folder = ROOT / "notebooks"
    texts = [
        cell.source
        for path in NOTEBOOKS
        for cell in nbformat.read(path, as_version=4).cells
        if cell.cell_type == "markdown"
    ]
    shown = (folder / "README.md").read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)]+)\)", "\n".join([shown, *texts]))
    for link in links:
        assert link.startswith("https://") or (folder / link.split("#")[0]).is_file(), link
    assert [path.name for path in NOTEBOOKS] == re.findall(r"^\| \[([^]]+)\]", shown, re.MULTILINE)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=named)
def test_figures_are_stored_as_images_for_untrusted_notebooks(path: Path) -> None:
    html = [
        output.data["text/html"]
        for cell in code_cells(path)
        for output in cell.outputs
        if "text/html" in output.get("data", {})
    ]
    assert any("<img alt=" in each for each in html)
    for each in html:
        assert "<svg" not in each and "<script" not in each and "http" not in each


#: Notebooks that plot curves or heat maps themselves, besides the panels.
PLOTTED = [path for path in NOTEBOOKS if path.name[:2] in ("02", "03", "04", "05", "06", "07")]
PLOTTED += [ROOT / "notebooks" / name for name in ("family.ipynb", "reading_the_numbers.ipynb")]


@pytest.mark.parametrize("path", PLOTTED, ids=named)
def test_plot_is_interactive_with_an_image_fallback(path: Path) -> None:
    plots = [
        output.data
        for cell in code_cells(path)
        for output in cell.outputs
        if PLOTLY in output.get("data", {})
    ]
    assert plots
    for data in plots:
        assert set(data) == {PLOTLY, "text/html", "text/plain"}
        assert data["text/html"].startswith("<img alt=") and data[PLOTLY]["data"]
        assert re.fullmatch(r"interactive figure, \d panels?", data["text/plain"])


@pytest.mark.parametrize("path", NOTEBOOKS, ids=named)
def test_notebook_uses_no_private_names(path: Path) -> None:
    for cell in code_cells(path):
        for node in ast.walk(ast.parse(cell.source)):
            if isinstance(node, ast.Attribute):
                assert not node.attr.startswith("_") or node.attr.startswith("__"), cell.source
            if isinstance(node, ast.ImportFrom):
                assert not any(name.name.startswith("_") for name in node.names)
