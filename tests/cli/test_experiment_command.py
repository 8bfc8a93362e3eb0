"""The command ``alphaedit experiment``."""

from __future__ import annotations

import json

from commands import Workplace
from examples import FACTS


class TestExperiment:
    def test_runs_resumes_and_writes_a_report(self, place: Workplace) -> None:
        records = place.folder / "records.json"
        rewrites = [
            {
                "subject": fact.subject,
                "prompt": fact.prompt,
                "target_new": {"str": "Rome"},
                "target_true": {"str": "Berlin"},
            }
            for fact in FACTS[:2]
        ]
        records.write_text(json.dumps([{"requested_rewrite": rewrite} for rewrite in rewrites]))
        folder = place.folder / "kept"
        command = (
            "experiment", "--dataset", "counterfact", "--path", records, "--edits", "2",
            "--batch-size", "1", "--editor", "alphaedit,memit+previous-keys", "--evaluate-every",
            "1", "--metrics", "efficacy,efficacy_accuracy", "--model", place.model, "--config",
            place.config, "--output", folder,
        )  # fmt: skip
        shown = place.run(*command)
        assert shown.code == 0, shown.err
        assert "alphaedit +projection +previous-keys" in shown.out
        assert "memit -projection +previous-keys" in shown.out
        assert (folder / "report.html").is_file()
        again = place.run(*command, "--json").json
        points = [json.loads(line) for line in (folder / "points.jsonl").open()]
        assert all(point.pop("checksum") for point in points)
        assert again["points"] == points and len(points) == 5
        refused = place.run(*command, "--compat", "easyedit")
        assert refused.code == 2 and "another compat of its plan" in refused.err

    def test_invalid_arguments_are_refused_before_a_model_is_loaded(self, place: Workplace) -> None:
        for arguments, message in (
            (("--dataset", "nobodys", "--path", "x.json"), "nobodys"),
            (("--dataset", "zsre", "--path", place.folder / "x.json"), "no such file"),
            (("--dataset", "zsre", "--path", place.facts, "--editor", ","), "names none"),
            (("--dataset", "zsre", "--path", place.facts, "--editor", "romeo"), "romeo"),
            (
                ("--dataset", "zsre", "--path", place.facts, "--set", "projection=true"),
                'projection=true": belongs in --editor',
            ),
        ):
            refused = place.run("experiment", "--model", "no-such-model", *arguments)
            assert refused.code == 2 and message in refused.err and not refused.out
