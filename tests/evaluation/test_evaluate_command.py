"""The commands that evaluate a model and list the metrics."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from commands import Workplace
from example_records import RECORDS
from examples import quiet
from published import ZSRE
from tiny import tiny_model

from alphaedit_core.data.datasets.reading import read_records
from alphaedit_core.evaluation.evaluate import evaluate
from alphaedit_core.evaluation.metrics.registry import metrics

pytestmark = pytest.mark.usefixtures("short")


@pytest.fixture
def place(tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]) -> Workplace:
    """With ``RECORDS`` as a file of CounterFact."""
    made = Workplace(tmp_path / "place", capsys)
    content = [
        {
            "case_id": number,
            "requested_rewrite": {
                "subject": fact.subject,
                "prompt": fact.prompt,
                "target_new": {"str": fact.target},
                "target_true": {"str": fact.target_true or "Berlin"},
                "relation_id": fact.relation or "P0",
            },
            "paraphrase_prompts": list(fact.paraphrases),
            "neighborhood_prompts": list(fact.neighbors),
            "attribute_prompts": [],
            "generation_prompts": [probe.prompt for probe in record.probes],
        }
        for number, record in enumerate(RECORDS, 1)
        for fact in record.facts
    ]
    (made.folder / "records.json").write_text(json.dumps(content), "utf-8")
    return made


class TestCommand:
    def run(self, place: Workplace, *more: object) -> Any:
        file = place.folder / "records.json"
        return place.run("evaluate", file, "--dataset", "counterfact", *more)

    def test_a_model(self, place: Workplace) -> None:
        ran = self.run(place, "--model", place.model, "--json", "--metrics", "score,fluency")
        file = place.folder / "records.json"
        records = read_records(file, "counterfact", monitor=quiet()).records
        expected = evaluate(tiny_model(), records, ["score", "fluency"], quiet()).to_dict()
        assert ran.json == expected | {
            "model": str(place.model), "session": None, "edits": 0, "file": str(file),
            "left_out": 0, "options": {},
        }  # fmt: skip
        ran = self.run(place, "--model", place.model, "--limit", 1, "--metrics", "efficacy")
        assert (ran.code, ran.err) == (0, "") and "efficacy" in ran.out
        assert ran.out.startswith("counterfact, 1 records\n")

    def test_which_target_of_zsre_is_asked_for_is_said(self, place: Workplace) -> None:
        file = place.folder / "zsre.json"
        file.write_text(json.dumps([ZSRE]), "utf-8")
        ask = ("evaluate", file, "--dataset", "zsre", "--model", place.model, "--limit", 1)
        own = (*ask, "--compat", "easyedit", "--metrics", "rewrite_acc")
        true = place.run(*own)
        assert true.out.startswith("zsre, target=true, 1 records\n")
        assert "EasyEdit's numbers are of target=alt" in true.err
        alt = place.run(*own, "--option", "target=alt", "--json")
        assert alt.json["options"] == {"target": "alt"} and alt.err == ""

    def test_a_session_is_compared_with_its_unedited_model(self, place: Workplace) -> None:
        session = place.folder / "session"
        assert place.edit(place.facts, "--session", session).code == 0
        names = "efficacy,locality"
        ran = self.run(place, "--session", session, "--json", "--metrics", names)
        assert ran.json["edits"] == 1
        assert ran.json["metrics"]["locality"]["mean"] is not None
        before = self.run(place, "--model", place.model, "--json", "--metrics", names)
        assert before.json["metrics"]["locality"]["mean"] is None

    def test_reference_texts(self, place: Workplace) -> None:
        file = place.folder / "texts.json"
        file.write_text(json.dumps({"Rome in Italy": ["Rome is the capital of Italy"]}), "utf-8")
        own = ("--model", place.model, "--metrics", "consistency", "--json")
        assert self.run(place, *own, "--references", file).json["metrics"]["consistency"]["n"] == 1

    def test_what_cannot_be_is_refused_before_the_model_is_loaded(self, place: Workplace) -> None:
        for words, more in (
            ("efficiency", ("--metrics", "efficiency")),
            ("names none", ("--metrics", " ,")),
            ("none.json", ("--references", "none.json")),
            ("--compat", ("--compat", "mine")),
            ('has no option "target"', ("--option", "target=alt")),
            ("give for example target=alt", ("--option", "target")),
        ):
            ran = self.run(place, "--model", "no-such-model", *more)
            assert ran.code == 2 and words in ran.err and len(ran.err.splitlines()) == 1
        ran = place.run("evaluate", "records.json", "--dataset", "weather", "--model", "no-such")
        assert ran.code == 2 and "weather" in ran.err

    def test_the_cards(self, place: Workplace) -> None:
        listed = place.run("metrics", "--json").json["metrics"]
        assert [card["name"] for card in listed] == list(metrics())
        ran = place.run("metrics")
        assert all(card["formula"] in ran.out and card["title"] in ran.out for card in listed)
