"""Samples of the published data sets, read completely."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from alphaedit_core.data.datasets.reading import Records, read_records

SAMPLES = {
    "counterfact.json": "counterfact",
    "counterfact_requests.json": "counterfact",
    "zsre.json": "zsre",
    "mquake_cf.json": "mquake-cf",
    "knowedit_wiki_counterfact.json": "knowedit-wiki-counterfact",
    "knowedit_wiki_recent.json": "knowedit-wiki-recent",
    "knowedit_zsre.json": "knowedit-zsre",
    "knowedit_wikibio.json": "knowedit-wikibio",
    "leme_zsre.json": "longform",
}


def published_prompts(raw: dict[str, Any]) -> list[str]:
    """Return the complete prompts of a record's facts, in any layout."""
    if "requested_rewrite" in raw:
        rewrites = raw["requested_rewrite"]
        rewrites = rewrites if isinstance(rewrites, list) else [rewrites]
        return [one["prompt"].replace("{}", one["subject"]) for one in rewrites]
    return [next(raw[name] for name in ("src", "prompt", "text") if name in raw)]


def published_questions(raw: dict[str, Any]) -> int:
    """Count the probes of a raw record."""
    listed = ("attribute_prompts", "generation_prompts", "questions", "new_single_hops")
    count = sum(len(raw.get(name, ())) for name in listed)
    count += "loc" in raw
    count += 2 * ("leme_inputs" in raw)
    for part in ("portability", "locality"):
        for group in raw.get(part, {}).values():
            count += len(group) if isinstance(group, list) else 1
    return count


@pytest.mark.parametrize("file", SAMPLES)
def test_samples_are_read_fully(samples: Path, file: str) -> None:
    path = samples / file
    if not path.exists():
        pytest.skip(f"{file} is not among the samples")
    published = json.loads(path.read_text("utf-8"))
    found: Records = read_records(path, SAMPLES[file], strict=True)
    assert len(found) == len(published) >= 20
    for raw, record in zip(published, found, strict=True):
        texts = [" ".join(text.split()) for text in published_prompts(raw)]
        assert [" ".join(fact.text.split()) for fact in record.facts] == texts
        assert len(record.probes) + len(record.skipped_questions) == published_questions(raw)
        for probe in record.probes:
            assert bool(probe.answers) == (probe.group != "generation")
            assert not set(probe.answers) & set(probe.wrong)
    assert len(found.skipped_questions) <= 0.01 * len(found)


def test_other_targets_of_the_sample(samples: Path) -> None:
    path = samples / "zsre.json"
    if not path.exists():
        pytest.skip("zsre.json is not among the samples")
    published = json.loads(path.read_text("utf-8"))
    for target, wanted in (("true", lambda raw: raw["answers"][0]), ("alt", lambda r: r["alt"])):
        facts = read_records(path, "zsre", target=target).facts
        assert [fact.target for fact in facts] == [wanted(raw).strip() for raw in published]
