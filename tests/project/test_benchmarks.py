"""Run the benchmarks on a tiny model; differences between the two implementations are errors."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tiny import prose, tiny_model

from alphaedit_core.corpora.sources import TextFile
from alphaedit_core.data.facts import Fact
from alphaedit_core.editing.config import EditConfig
from alphaedit_core.editing.defaults import default_hyperparameters
from alphaedit_core.editing.editors.alphaedit import AlphaEditConfig
from alphaedit_core.model.editable_model import EditableModel
from alphaedit_core.model.loading import load_model
from alphaedit_core.model.tokenization import prepare
from benchmarks import ablation, command, evaluation, statistics, targets, update
from benchmarks.arithmetic import blocks_cost, head_cost, least_search, plain_search
from benchmarks.machine import Machine, this_machine
from benchmarks.report import CheckFailed, Ratio, Report, figure, keep

FACTS = [
    Fact("Eiffel Tower", "{} is located in the city of", "Rome", target_true="Paris"),
    Fact("Isaac Newton", "{} was born in", "Italy", target_true="England"),
    Fact("Berlin", "{} is the capital of", "Japan", target_true="Germany"),
    Fact("the Louvre", "You know that {} stands in", "Tokyo", target_true="Paris"),
]


@pytest.fixture(scope="module")
def machine() -> Machine:
    return this_machine(size=128)


@pytest.fixture
def hyperparameters(tmp_path: Path) -> EditConfig:
    text = tmp_path / "text.txt"
    text.write_text(prose(2_000), encoding="utf-8")
    return AlphaEditConfig(
        layers=(0, 1), target_steps=4, threshold="rank:40", contexts=2, text=str(text), tokens=512
    )


def test_targets(
    machine: Machine, hyperparameters: EditConfig, cache: Path, tmp_path: Path
) -> None:
    report = targets.benchmark(tiny_model(), FACTS, machine, 2, hyperparameters)
    assert [ratio.value > 0 for ratio in report.ratios] == [True, True]
    # Equally many evaluations on both sides where nothing stops early.
    assert report.rows[0][4:6] == (figure(4), figure(4))
    assert len(report.checks) == 4


def test_statistics(machine: Machine, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text(prose(4_000), encoding="utf-8")
    report = statistics.benchmark(tiny_model(), machine, 1_024, (0, 1), TextFile(text))
    assert len(report.rows) == 3 and len(report.checks) == 2


def test_update(machine: Machine) -> None:
    report = update.benchmark(machine, update.Case(d_in=256, d_out=32, facts=5, earlier=40))
    library, dense = report.rows
    assert library[-1] == figure(256 * 128 * 4 / 1e6)
    assert dense[-1] == figure(256 * 256 * 4 / 1e6)
    assert len(report.checks) == 1


def test_evaluation(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prompts differ in length, and some occur several times."""
    full = FACTS[0].changed(
        paraphrases=["One sees the Eiffel Tower in", "Go to"],
        neighbors=["The Louvre is in the city of", "Newton was born in"],
    )
    model = tiny_model(max_position_embeddings=128)
    records = evaluation.records_of([full, *FACTS[1:], Fact("Rome", "{} is", "old")])
    assert [len(record.facts) for record in records] == [1] * 4
    report = evaluation.benchmark(model, records, machine, 2)
    assert [row[0] for row in report.rows] == ["likelihoods", "texts", "total"]
    assert len(report.checks) == 1 and report.ratios[2].wanted == evaluation.WANTED
    monkeypatch.setattr(evaluation, "plain_texts", lambda *_: {"fluency": 1.0})
    with pytest.raises(CheckFailed):
        evaluation.benchmark(model, records, machine, 2)


def test_command(
    machine: Machine, hyperparameters: EditConfig, cache: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    model = tiny_model()
    model.model.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)
    loaded: EditableModel = load_model(folder, device="cpu")
    report = command.benchmark(loaded, FACTS, machine, 2, hyperparameters)
    assert [row[0] for row in report.rows][-1] == "whole command"
    assert len(report.checks) == 5


def test_floor_counts_tokens_blocks_and_logits() -> None:
    model = tiny_model()
    (request,) = prepare(model, FACTS[:1], (), 1)
    row, n = request.rows[0], len(request.target)
    behind = len(row.ids) + n - 1 - row.subject  # from the subject's last token on
    one_block = blocks_cost(model, 2, 3)
    assert one_block == 2 * sum(
        p.numel() for p in model.architecture.blocks[2].parameters() if p.ndim == 2
    )
    cost = least_search(model, request, last=1)
    # One row and the KL term's single token, in the one block behind the edited ones.
    assert cost.forward == (behind + 1) * one_block + (n + 1) * head_cost(model)
    # So many evaluations, one gradient fewer.
    assert cost.total(3) == cost.once + 5 * cost.forward
    assert plain_search(model, request, last=1).total(3) > cost.total(3)


def test_different_results_raise() -> None:
    report = Report("targets", "Target values")
    report.check("these", 1e-9, 1e-8)
    for difference in (1e-7, float("nan")):
        with pytest.raises(CheckFailed, match="those differ"):
            report.check("those", difference, 1e-8)


def test_ratio_shows_whether_its_goal_is_met() -> None:
    assert str(Ratio("speed", 9.0, 8.0)).endswith("met)")
    assert str(Ratio("speed", 7.9, 8.0)).endswith("missed)")
    assert str(Ratio("speed", 7.9)) == "speed: 7.90 ×"


def test_results_replace_only_their_own_section(machine: Machine, tmp_path: Path) -> None:
    file = tmp_path / "RESULTS.md"
    keep(Report("first", "First", notes=["old"]), machine, file)
    keep(Report("second", "Second", notes=["stays"]), machine, file)
    keep(Report("first", "First", notes=["new"]), machine, file)
    text = file.read_text(encoding="utf-8")
    assert re.findall(r"^## (\w+)$", text, re.M) == ["First", "Second"]
    assert "- new" in text and "- stays" in text and "- old" not in text
    assert machine.processor in text


@pytest.mark.parametrize(
    ("value", "text"), [(0.01234, "0.012"), (4.561, "4.56"), (78.94, "78.9"), (12345.6, "12,346")]
)
def test_figures(value: float, text: str) -> None:
    assert figure(value) == text


def test_only_the_longest_run_of_a_setting_is_shown() -> None:
    model = tiny_model()
    tried = default_hyperparameters(model).replace(previous_keys_decay=0.5)
    names = ("efficacy", "generalization", "specificity", "exact", "perplexity")
    measures = dict.fromkeys(names, 50.0) | {"first": {"exact": 25.0}}
    lines = [
        {"hyperparameters": tried.to_dict(), "after": {str(count): measures for count in counts}}
        for counts in ((40, 100), (40, 300))
    ]
    for order in (lines, lines[::-1]):
        rows = ablation.table(order, model, "candidates").rows
        assert [row[:2] for row in rows] == [
            (f"{tried.method}, λ 10, previous keys decay 0.5", "40"),
            (f"{tried.method}, λ 10, previous keys decay 0.5", "300"),
        ]
