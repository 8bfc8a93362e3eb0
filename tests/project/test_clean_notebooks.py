"""Tests of clean_notebooks on notebooks written by nbformat, with one problem each."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat.v4 import (
    new_code_cell,
    new_markdown_cell,
    new_notebook,
    new_output,
    output_from_msg,
)

from tools.clean_notebooks import (
    LARGEST_OUTPUT,
    PLOTLY,
    WIDGET_VIEW,
    as_text,
    clean,
    main,
    problems,
)

Notebook = dict[str, Any]
CLEAN_METADATA = {
    "kernelspec": {
        "display_name": "Python 3 (ipykernel)",
        "language": "python",
        "name": "python3",
    },
    "language_info": {"name": "python"},
}


def clean_notebook() -> Notebook:
    result = new_output("execute_result", {"text/plain": "2"}, execution_count=1)
    cells = [
        new_markdown_cell("# λ and Δ"),
        new_code_cell("1 + 1", execution_count=1, outputs=[result]),
        new_code_cell("print('ü')", execution_count=2, outputs=[new_output("stream", text="ü\n")]),
    ]
    return new_notebook(cells=cells, metadata=CLEAN_METADATA)


def write_notebook(notebook: Notebook, folder: Path) -> Path:
    path = folder / "some.ipynb"
    nbformat.write(nbformat.from_dict(notebook), path)
    return path


def add_view(notebook: Notebook, mime: str) -> None:
    data = {WIDGET_VIEW: {"model_id": "a1"}, mime: "shown"}
    notebook["cells"][1]["outputs"].append(new_output("display_data", data))


def test_clean_notebook_is_unchanged(tmp_path: Path) -> None:
    path = write_notebook(clean_notebook(), tmp_path)
    before = path.read_bytes()
    assert main(["--check", str(path)]) == 0
    assert main([str(path)]) == 0
    assert path.read_bytes() == before


def store_widgets(notebook: Notebook) -> None:
    notebook["metadata"]["widgets"] = {"application/vnd.jupyter.widget-state+json": {}}


def other_kernel(notebook: Notebook) -> None:
    notebook["metadata"]["kernelspec"] = {"display_name": "mine", "name": "conda-env"}


def full_language_info(notebook: Notebook) -> None:
    notebook["metadata"]["language_info"] = {"name": "python", "version": "3.12.1"}


def timed(notebook: Notebook) -> None:
    notebook["cells"][1]["metadata"]["execution"] = {"iopub.status.busy": "2026-01-01T00:00:00Z"}


def collapsed(notebook: Notebook) -> None:
    notebook["cells"][0]["metadata"]["collapsed"] = False


def run_twice(notebook: Notebook) -> None:
    notebook["cells"][2]["execution_count"] = 7


def result_of_another_run(notebook: Notebook) -> None:
    notebook["cells"][1]["outputs"][0]["execution_count"] = 5


def view_and_picture(notebook: Notebook) -> None:
    add_view(notebook, "image/png")


def view_and_html(notebook: Notebook) -> None:
    add_view(notebook, "text/html")


def plotly_image(notebook: Notebook) -> None:
    figure = {"data": [], "layout": {}}
    data = {PLOTLY: figure, "image/png": "iVBORw0KGgo=", "text/html": "<img>", "text/plain": "it"}
    notebook["cells"][1]["outputs"].append(new_output("display_data", data))


def split_stream(notebook: Notebook) -> None:
    notebook["cells"][2]["outputs"].append(new_output("stream", text="more\n"))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (store_widgets, "widget state"),
        (other_kernel, "kernelspec"),
        (full_language_info, "language_info"),
        (timed, "cell 2: volatile metadata execution"),
        (collapsed, "cell 1: volatile metadata collapsed"),
        (run_twice, "cell 3: execution count is not 2"),
        (result_of_another_run, "cell 2: execution count is not 1"),
        (view_and_picture, "cell 2: widget view"),
        (view_and_html, "cell 2: widget view"),
        (plotly_image, "cell 2: image of a plotly figure"),
        (split_stream, "cell 3: one stream in several outputs"),
    ],
)
def test_fixable_problem_is_reported_then_fixed(
    spoil: Callable[[Notebook], None],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    notebook = clean_notebook()
    spoil(notebook)
    path = write_notebook(notebook, tmp_path)
    before = path.read_bytes()

    assert main(["--check", str(path)]) == 1
    assert message in capsys.readouterr().out
    assert path.read_bytes() == before, "a check writes nothing"

    assert main([str(path)]) == 0
    assert message in capsys.readouterr().out
    assert main(["--check", str(path)]) == 0
    nbformat.validate(nbformat.read(path, as_version=4))


def test_cleaning_keeps_all_outputs_except_views(tmp_path: Path) -> None:
    notebook = clean_notebook()
    view_and_picture(notebook)
    run_twice(notebook)
    path = write_notebook(notebook, tmp_path)
    main([str(path)])
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    first, second = cells[1]["outputs"]
    assert first["data"] == {"text/plain": ["2"]}
    assert second["data"] == {"image/png": "shown"}
    assert cells[2]["outputs"][0]["text"] == ["ü\n"]


def test_consecutive_streams_are_merged() -> None:
    notebook = clean_notebook()
    cell = notebook["cells"][2]
    for name, text in (("stdout", "half "), ("stdout", "line\n"), ("stderr", "x"), ("stdout", "y")):
        cell["outputs"].append(new_output("stream", name=name, text=text))
    clean(notebook)
    merged = [(output["name"], output["text"]) for output in cell["outputs"]]
    assert merged == [("stdout", ["ü\n", "half line\n"]), ("stderr", "x"), ("stdout", "y")]


def test_widget_view_without_fallback_is_kept() -> None:
    notebook = clean_notebook()
    notebook["cells"][1]["outputs"] = [new_output("display_data", {WIDGET_VIEW: {"model_id": "a"}})]
    assert clean(notebook) == []
    assert WIDGET_VIEW in notebook["cells"][1]["outputs"][0]["data"]


def test_execution_counts_skip_cells_that_were_not_run() -> None:
    notebook = clean_notebook()
    notebook["cells"].insert(1, new_code_cell("x = 1"))
    assert clean(notebook) == []
    assert [c.get("execution_count") for c in notebook["cells"]] == [None, None, 1, 2]


def never_run(notebook: Notebook) -> None:
    notebook["cells"][1] = new_code_cell("1 + 1")


def too_large(notebook: Notebook) -> None:
    notebook["cells"][2]["outputs"][0]["text"] = "é" * (LARGEST_OUTPUT // 2)


def error_output() -> Notebook:
    content = {"ename": "ValueError", "evalue": "no", "traceback": []}
    return output_from_msg({"header": {"msg_type": "error"}, "content": content})


def failed(notebook: Notebook) -> None:
    notebook["cells"][2]["outputs"] = [error_output()]


def home_in_output(notebook: Notebook) -> None:
    notebook["cells"][2]["outputs"][0]["text"] = "saved to /home/ada/session"


def windows_home_in_source(notebook: Notebook) -> None:
    notebook["cells"][2]["source"] = r"open(r'C:\Users\ada\facts.json')"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (never_run, "cell 2: never run"),
        (too_large, "cell 3: output of 100,0"),
        (failed, "cell 3: ends in ValueError"),
        (home_in_output, 'cell 3: output names a home folder "/home/ada"'),
        (windows_home_in_source, 'cell 3: source names a home folder "C:\\Users\\ada"'),
    ],
)
@pytest.mark.parametrize("flags", [[], ["--check"]])
def test_unfixable_problem_is_reported(
    spoil: Callable[[Notebook], None],
    message: str,
    flags: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    notebook = clean_notebook()
    spoil(notebook)
    path = write_notebook(notebook, tmp_path)
    assert main([*flags, str(path)]) == 1
    assert message in capsys.readouterr().out


def test_tagged_error_and_empty_cell_are_accepted() -> None:
    notebook = clean_notebook()
    failed(notebook)
    notebook["cells"][2]["metadata"]["tags"] = ["raises-exception"]
    notebook["cells"].append(new_code_cell("  "))
    assert problems(notebook) == []


def test_different_layout_is_unclean(tmp_path: Path) -> None:
    path = write_notebook(clean_notebook(), tmp_path)
    original = path.read_text(encoding="utf-8")
    path.write_text(json.dumps(json.loads(original), indent=4), encoding="utf-8")
    assert main(["--check", str(path)]) == 1
    assert main([str(path)]) == 0
    assert path.read_text(encoding="utf-8") == original


def test_layout_equals_jupyters(tmp_path: Path) -> None:
    path = write_notebook(clean_notebook(), tmp_path)
    text = path.read_text(encoding="utf-8")
    assert as_text(json.loads(text)) == text


def test_folder_selects_its_notebooks_without_checkpoints(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in ("chapter", ".ipynb_checkpoints"):
        (tmp_path / folder).mkdir()
        notebook = clean_notebook()
        never_run(notebook)
        write_notebook(notebook, tmp_path / folder)
    assert main(["--check", str(tmp_path)]) == 1
    assert capsys.readouterr().out.count("never run") == 1


@pytest.mark.parametrize(
    "content", [None, b"{", b"\xff", b"[]", b'{"nbformat": 3, "worksheets": []}']
)
def test_invalid_notebook_is_reported(
    content: bytes | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "broken.ipynb"
    if content is not None:
        path.write_bytes(content)
    assert main(["--check", str(path)]) == 1
    assert "broken.ipynb: not a readable notebook" in capsys.readouterr().out
