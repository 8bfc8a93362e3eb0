"""Facts from dictionaries, data frames and data sets."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from alphaedit_core.data.fact_files import read_facts, write_facts
from alphaedit_core.data.fact_inputs import as_facts
from alphaedit_core.data.facts import Fact
from alphaedit_core.errors import InputError

TOWER = Fact("Eiffel Tower", "{} is in", "Rome", target_true="Paris")
NEWTON = Fact("Newton", "{} was born in", "Japan", neighbors=["Galileo was born in", "Einstein"])
ROWS = [
    {
        "subject": "Eiffel Tower",
        "prompt": "{} is in",
        "target_new": "Rome",
        "ground_truth": "Paris",
    },
    {"subject": "Newton", "prompt": "{} was born in", "target_new": "Japan"},
]
COUNTERFACT = {
    "case_id": 7,
    "requested_rewrite": {
        "subject": "Newton",
        "prompt": "{} was born in",
        "target_new": {"str": "Japan", "id": "Q17"},
        "target_true": {"str": "England", "id": "Q21"},
        "relation_id": "P19",
    },
    "paraphrase_prompts": ["The birthplace of Newton is"],
    "neighborhood_prompts": ["Galileo was born in"],
    "generation_prompts": ["Newton said"],
}
FROM_COUNTERFACT = Fact(
    "Newton", "{} was born in", "Japan", "England", ["The birthplace of Newton is"],
    ["Galileo was born in"], "P19",
)  # fmt: skip


def refusal(facts: Any) -> str:
    with pytest.raises(InputError) as caught:
        as_facts(facts)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (TOWER, [TOWER]),
        (ROWS[0], [TOWER]),
        (TOWER.to_dict(), [TOWER]),
        ([TOWER, NEWTON], [TOWER, NEWTON]),
        ((TOWER, NEWTON.to_dict()), [TOWER, NEWTON]),
        ([*ROWS, TOWER], [TOWER, NEWTON.changed(neighbors=[])]),  # of two that agree the first
        (iter(ROWS[:1]), [TOWER]),
        (COUNTERFACT, [FROM_COUNTERFACT]),
        ({**ROWS[0], "target_new": {"str": "Rome"}, "ground_truth": ["Paris"]}, [TOWER]),
        ({**ROWS[0], "ground_truth": float("nan"), "relation": None}, [TOWER.changed(
            target_true=None)]),
    ],
)  # fmt: skip
def test_facts_and_dictionaries(given: Any, expected: list[Fact]) -> None:
    assert as_facts(given) == expected


def test_read_facts_takes_the_same() -> None:
    assert read_facts(ROWS[0]) == [TOWER]
    assert read_facts(ROWS, limit=1) == [TOWER]
    with pytest.raises(InputError, match="limit 0 is not a whole number above 0"):
        read_facts(ROWS, limit=0)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([TOWER, {"subject": "a", "prompt": "{} is"}],
         'fact 2: field "target" is missing; add it (a text)'),
        ({**ROWS[1], "target_new": float("nan")}, 'fact 1: field "target" is missing'),
        ([{**ROWS[0], "subjct": "b"}], 'field "subjct" is not known; did you mean "subject"? '),
        ([ROWS[0], {**ROWS[1], "target_new": 5}], 'fact 2: target 5 is not a text; write "5"'),
        ([TOWER, "Rome"], 'fact 2: "Rome" is a text; make it a Fact(...) or a dictionary'),
        ("facts.json", 'the facts "facts.json" are a text; read a file with read_facts(path), or'),
        (None, "the facts null are null; give facts, dictionaries, a DataFrame or a Dataset"),
        ([], "the list of facts is empty; give at least one fact"),
        ({**ROWS[0], "target_true": "Lyon"}, '"target_true" and "ground_truth" are both given'),
        ({**ROWS[0], "prompt": "Eiffel Tower is in"}, '"ground_truth" is of a data set\'s record'),
        ([ROWS[0], {**ROWS[0], "target_new": "Oslo"}], "fact 1 and fact 2: both are about"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_named(given: Any, expected: str) -> None:
    assert expected in refusal(given)


# -- data frames -----------------------------------------------------------------------------------


def frame_of(rows: list[dict[str, Any]], **options: Any) -> Any:
    return pytest.importorskip("pandas").DataFrame(rows, **options)


def test_missing_cells_of_a_data_frame_are_fields_left_out() -> None:
    frame = frame_of(ROWS)
    assert frame["ground_truth"].isna().tolist() == [False, True]
    assert as_facts(frame) == [TOWER, NEWTON.changed(neighbors=[])]
    assert read_facts(frame, limit=1) == [TOWER]
    pandas = pytest.importorskip("pandas")
    strings = frame.astype("string")
    assert strings["ground_truth"][1] is pandas.NA
    assert as_facts(strings) == as_facts(frame)
    assert as_facts(strings.to_dict("records")) == as_facts(frame)


def test_columns_of_lists_may_be_lists_arrays_or_texts() -> None:
    numpy = pytest.importorskip("numpy")
    listed = list(NEWTON.neighbors)
    for cell in (listed, tuple(listed), numpy.array(listed), " | ".join(listed)):
        rows = [{**NEWTON.to_dict(), "neighbors": cell}, TOWER.to_dict()]
        assert as_facts(frame_of(rows)) == [NEWTON, TOWER]


def test_a_csv_file_reads_alike_as_a_data_frame(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pandas = pytest.importorskip("pandas")
    file = tmp_path / "facts.csv"
    write_facts(file, [TOWER, NEWTON])
    frame = pandas.read_csv(file)
    assert as_facts(frame) == read_facts(file) == [TOWER, NEWTON]
    frame.to_csv(file)
    with caplog.at_level(logging.WARNING):
        assert as_facts(pandas.read_csv(file)) == [TOWER, NEWTON]
    assert caplog.messages == ['columns without a name are ignored: "Unnamed: 0"']


def test_rows_of_a_data_frame_are_named_by_their_index() -> None:
    rows = [ROWS[0], {**ROWS[1], "target_new": None}]
    assert refusal(frame_of(rows, index=["a", "b"])) == (
        'row b: field "target" is missing; add it (a text)'
    )
    rows[1]["target_new"] = 5
    assert refusal(frame_of(rows)) == 'row 1: target 5 is not a text; write "5"'
    rows[1] = {**ROWS[0], "target_new": "Oslo"}
    assert refusal(frame_of(rows)).startswith("row 0 and row 1: both are about")


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (["subject", "prompt", "targt"], 'column "targt" is not known; did you mean "target"? '
         "drop it, or use one of subject, prompt, target"),
        (["subject", "prompt", 0], "column 0 is not known; drop it, or use one of subject"),
        (["subject", "prompt", "id"], 'column "target" is missing; add it'),
        (["subject", "subject", "prompt"], 'column "subject" is there twice; remove one'),
    ],
)  # fmt: skip
def test_columns_of_a_data_frame_are_checked(columns: list[Any], expected: str) -> None:
    frame = frame_of([])
    frame = type(frame)([["a", "{} is", "b"]], columns=columns)
    assert refusal(frame).startswith(expected)


def test_counterfact_records_in_a_data_frame() -> None:
    assert as_facts(frame_of([COUNTERFACT])) == [FROM_COUNTERFACT]


def test_an_empty_data_frame_has_no_facts() -> None:
    assert "the list of facts is empty" in refusal(frame_of(ROWS)[:0])


# -- data sets -------------------------------------------------------------------------------------


@pytest.fixture
def data_sets() -> Any:
    return pytest.importorskip("datasets")


def test_a_data_set_reads_as_its_records(data_sets: Any) -> None:
    # The columns are those of the first row; the second row leaves one of them out.
    rows = [{**NEWTON.to_dict(), "target_true": None}, TOWER.to_dict()]
    data_set = data_sets.Dataset.from_list(rows)
    assert as_facts(data_set) == [NEWTON, TOWER]
    assert as_facts(data_set.to_iterable_dataset()) == [NEWTON, TOWER]
    assert read_facts(data_set, limit=1) == [NEWTON]
    assert as_facts(data_sets.Dataset.from_list([COUNTERFACT])) == [FROM_COUNTERFACT]
    frame = frame_of(ROWS, index=["a", "b"])  # its index becomes a column
    assert as_facts(data_sets.Dataset.from_pandas(frame)) == as_facts(frame)


def test_what_cannot_be_used_of_a_data_set(data_sets: Any) -> None:
    data_set = data_sets.Dataset.from_list([ROWS[0], {**ROWS[1], "target_new": None}])
    assert refusal(data_set) == 'row 1: field "target" is missing; add it (a text)'
    assert refusal(data_set.rename_column("prompt", "promt")).startswith(
        'column "promt" is not known; did you mean "prompt"? '
    )
    splits = data_sets.DatasetDict({"validation": data_set, "test": data_set})
    assert refusal(splits) == (
        "the facts are a data set with the splits validation, test; give one split, such as "
        'dataset["validation"]'
    )


def test_neither_package_is_imported() -> None:
    code = (
        "import sys\n"
        "from alphaedit_core.data.fact_inputs import as_facts\n"
        "as_facts({'subject': 'Rome', 'prompt': '{} is in', 'target': 'France'})\n"
        "sys.exit(bool({'pandas', 'datasets', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
