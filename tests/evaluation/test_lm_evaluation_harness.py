"""lm-evaluation-harness on an edited model: the same log-likelihoods as ours."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from examples import CONTEXTS, FACTS, quiet, small
from tiny import tiny_model

from alphaedit_core import target_logprobs
from alphaedit_core.session.session import EditSession

pytest.importorskip("lm_eval")

#: Prompts that a space follows.
PAIRS = [
    *((fact.text, fact.target) for fact in FACTS if fact.text.isascii()),
    ("The capital of France is", "Paris"),
]


@pytest.fixture
def session(tmp_path: Path, cache: Path) -> EditSession:
    model = tiny_model("llama")
    session = EditSession(model, hyperparameters=small(tmp_path), contexts=CONTEXTS)
    session.edit(FACTS, monitor=quiet())
    return session


def harness_model(session: EditSession) -> Any:
    from lm_eval.models.huggingface import HFLM

    return HFLM(pretrained=session.model.model, tokenizer=session.model.tokenizer)


def our_logprobs(session: EditSession) -> list[float]:
    """The sum of each target's log-probabilities."""
    tokenizer = session.model.tokenizer
    counts = [len(tokenizer(f" {target}").input_ids) for _, target in PAIRS]
    scores = target_logprobs(session.model, PAIRS)
    return [-score.nll * count for score, count in zip(scores, counts, strict=True)]


@pytest.mark.parametrize("state", [0, 1])
def test_log_likelihoods_equal_target_logprobs(session: EditSession, state: int) -> None:
    from lm_eval.api.instance import Instance

    session.restore(state)
    requests = [
        Instance("loglikelihood", {}, (prompt, f" {target}"), number)
        for number, (prompt, target) in enumerate(PAIRS)
    ]
    theirs = [logprob for logprob, _ in harness_model(session).loglikelihood(requests)]
    assert theirs == pytest.approx(our_logprobs(session), rel=1e-4)


def test_simple_evaluate_reads_the_edited_model(session: EditSession, tmp_path: Path) -> None:
    from lm_eval import simple_evaluate

    documents = tmp_path / "facts.jsonl"
    lines = [json.dumps({"prompt": prompt, "target": f" {target}"}) for prompt, target in PAIRS]
    documents.write_text("\n".join(lines), encoding="utf-8")
    task = {
        "task": "facts",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(documents)}},
        "test_split": "test",
        "output_type": "loglikelihood",
        "doc_to_text": "{{prompt}}",
        "doc_to_target": "{{target}}",
        "target_delimiter": "",
        "metric_list": [{"metric": "perplexity", "aggregation": "perplexity"}],
    }

    perplexities = []
    for state in (1, 0):
        session.restore(state)
        results = simple_evaluate(model=harness_model(session), tasks=[task], bootstrap_iters=0)
        perplexities.append(results["results"]["facts"]["perplexity,none"])
        mean = sum(our_logprobs(session)) / len(PAIRS)
        assert perplexities[-1] == pytest.approx(math.exp(-mean), rel=1e-3)
    assert perplexities[0] < perplexities[1]
