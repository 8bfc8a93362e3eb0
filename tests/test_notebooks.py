"""Stored notebooks say what a comparison can hold them to, and show it without a kernel."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import nbformat
import pytest

from tools.clean_notebooks import WIDGET_VIEW, main

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
IGNORED = "nbval-ignore-output"

Cell = Any


def code_cells(path: Path) -> list[Cell]:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def named(path: Path) -> str:
    return path.name


def test_there_are_notebooks_and_they_are_clean(capsys: pytest.CaptureFixture[str]) -> None:
    assert [path.name for path in NOTEBOOKS] == [
        "family.ipynb", "first_edit.ipynb", "reading_the_numbers.ipynb", "workbench.ipynb",
    ]  # fmt: skip
    assert main(["--check", str(ROOT / "notebooks")]) == 0, capsys.readouterr().out


@pytest.mark.parametrize("path", NOTEBOOKS, ids=named)
def test_every_cell_was_run_and_its_output_is_compared_or_left_out_on_purpose(path: Path) -> None:
    for cell in code_cells(path):
        assert cell.execution_count, f"never run: {cell.source}"
        tags = cell.metadata.get("tags", [])
        assert set(tags) <= {IGNORED}, f"what is {tags}?"
        assert cell.outputs, f"says nothing that could be compared: {cell.source}"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=named)
def test_what_is_compared_is_printed_text_without_digits_of_a_trained_model(path: Path) -> None:
    """A cell whose own repr is compared may not end in an edit: its probabilities differ."""
    for cell in code_cells(path):
        if IGNORED in cell.metadata.get("tags", []):
            continue
        for output in cell.outputs:
            text = "".join(output.get("data", {}).get("text/plain", "")) + output.get("text", "")
            assert "EditResult" not in text, f"tag it {IGNORED}: {cell.source}"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=named)
def test_no_bar_and_no_widget_is_stored(path: Path) -> None:
    for cell in code_cells(path):
        for output in cell.outputs:
            data = output.get("data", {})
            assert WIDGET_VIEW not in data, cell.source
            assert "%|" not in data.get("text/plain", "") + output.get("text", ""), (
                "a progress bar is stored; run the notebook with TQDM_DISABLE=1 set: " + cell.source
            )


def test_the_workbench_checks_what_it_claims() -> None:
    """Every check that it prints is True, and those that catch a broken formula are there."""
    path = ROOT / "notebooks" / "first_edit.ipynb"
    printed = "".join(
        output.text
        for cell in code_cells(path)
        for output in cell.outputs
        if output.output_type == "stream"
    )
    checks = dict(line.rsplit(": ", 1) for line in printed.splitlines() if line.endswith("e"))
    assert set(checks.values()) == {"True"}
    for claim in (
        "rank is the number of eigenvalues under the threshold",
        "leakage is their share of the sum",
        "the change is that of Eq. 14",
        "it lies in the kept directions, ΔW P = ΔW",
        "it is zero on the dropped ones, ΔW Q = 0",
        "same weights",
        "the edited weights again",
        "edited again, from the folder",
    ):
        assert claim in checks


@pytest.mark.parametrize("path", NOTEBOOKS, ids=named)
def test_pictures_are_stored_as_images_that_an_untrusted_notebook_shows(path: Path) -> None:
    html = [
        output.data["text/html"]
        for cell in code_cells(path)
        for output in cell.outputs
        if "text/html" in output.get("data", {})
    ]
    assert any("<img alt=" in each for each in html)
    for each in html:
        assert "<svg" not in each and "<script" not in each and "http" not in each


@pytest.mark.parametrize("path", NOTEBOOKS, ids=named)
def test_a_notebook_imports_only_what_is_public(path: Path) -> None:
    for cell in code_cells(path):
        for node in ast.walk(ast.parse(cell.source)):
            if isinstance(node, ast.Attribute):
                assert not node.attr.startswith("_") or node.attr.startswith("__"), cell.source
            if isinstance(node, ast.ImportFrom):
                assert not any(name.name.startswith("_") for name in node.names)
