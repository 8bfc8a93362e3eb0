"""The report of an experiment, and its table beside the paper's."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html import escape

from kept_experiments import METRICS

from alphaedit_core.experiments.paper_results import COLUMNS, published
from alphaedit_core.experiments.report import experiment_html, save_report
from alphaedit_core.experiments.results import ExperimentResult, paper_table
from alphaedit_core.side_effects.baseline import DRIFTS


def test_the_report_is_one_page_that_needs_no_network(whole: ExperimentResult) -> None:
    page = save_report(whole).read_text("utf-8")
    assert "default-src 'none'" in page
    assert not re.search(r'(?:src|href)="(?!data:)', page)
    for name in (*whole.plan.names(), *METRICS, "unedited"):
        assert name in page, name
    alts = re.findall('<img alt="(.*?)"', page)
    assert len(alts) == 2 and "efficacy" in alts[0]
    for point in whole.points[1:]:
        assert f"{point.values['efficacy']:.1f}" in page
        assert f"{point.drift['kl']:.3g}" in page
    assert "KL(before || after) of ordinary text" in alts[0]
    assert all(escape(words) in page for words in DRIFTS.values())
    assert "Frobenius norm of the change" in page
    assert "tokens 2 to 256" not in page and "weighted, as in" not in page  # neither was measured
    read = [replace(p, perplexity=30.0, ability={"sst2": {"accuracy": 60.0, "f1": 50.0}})
            for p in whole.points]  # fmt: skip
    more = experiment_html(ExperimentResult(whole.folder, whole.manifest, read))
    assert "tokens 2 to 256" in more and "weighted, as in" in more and "sst2, accuracy" in more


def test_what_was_measured_is_said_with_the_numbers(whole: ExperimentResult) -> None:
    assert repr(whole).startswith("counterfact, 4 records in batches of 1.\n")
    manifest = json.loads(json.dumps(dict(whole.manifest)))
    manifest["records"] |= {"dataset": "zsre", "options": {"target": "alt"}}
    manifest["plan"]["compat"] = "easyedit"
    other = ExperimentResult(whole.folder, manifest, whole.points[:2])
    first = repr(other).splitlines()[0]
    assert first.startswith("zsre, target=alt, 4 records") and "EasyEdit" in first
    assert first.endswith("Not complete yet.")


def test_no_metric_is_missing_from_the_table_because_another_is_the_papers(
    whole: ExperimentResult,
) -> None:
    headings, _ = paper_table(whole)
    assert headings == ("method", "edits", "efficacy", "generalization", "efficacy_accuracy")
    columns = COLUMNS["counterfact"]
    full = [replace(p, values=dict.fromkeys((*METRICS, *columns), 1.0)) for p in whole.points]
    assert paper_table(ExperimentResult(whole.folder, whole.manifest, full))[0][2:] == columns


def test_the_published_rows_stand_beside_the_models_of_the_paper(whole: ExperimentResult) -> None:
    assert "as published" not in repr(whole)  # a tiny model is none of them
    manifest = json.loads(json.dumps(dict(whole.manifest)))
    manifest["model"]["preset"] = "GPT-J 6B"
    beside = ExperimentResult(whole.folder, manifest, whole.points)
    row = next(line for line in repr(beside).splitlines() if line.startswith("alphaedit, as pub"))
    assert row.split()[-3:] == ["2000", "99.75", "96.38"]  # and nothing of what the paper has not
    for model in ("Llama-3 8B", "GPT-J 6B", "GPT-2 XL"):
        for dataset, columns in COLUMNS.items():
            rows = published(model, dataset)
            assert len(rows) == 9 and {len(row) for row in rows.values()} == {len(columns)}
    assert published("SmolLM2-135M", "counterfact") == {} == published("GPT-J 6B", "mquake-cf")
