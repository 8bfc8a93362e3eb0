"""An evaluation against a plain one: record by record, prompt by prompt, token by token."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from example_records import RECORDS, TOLD
from examples import FACTS, quiet
from tiny import tiny_model, tiny_tokenizer

from alphaedit_core.data.records import Probe, Record
from alphaedit_core.data.reference_texts import References
from alphaedit_core.errors import Canceled, InputError
from alphaedit_core.evaluation import evaluate as evaluation
from alphaedit_core.evaluation.evaluate import chosen, compared_with, evaluate
from alphaedit_core.evaluation.metrics.base import Metric
from alphaedit_core.evaluation.metrics.fluency import variety
from alphaedit_core.evaluation.metrics.registry import metrics
from alphaedit_core.inference.batch_generation import write
from alphaedit_core.inference.matching import begins, mentions
from alphaedit_core.inference.queries import Answer, GenerationQuery, LikelihoodQuery, Query
from alphaedit_core.inference.scoring import rate
from alphaedit_core.model.editable_model import EditableModel
from alphaedit_core.model.tokenization import encode, target_ids
from alphaedit_core.progress import Monitor

pytestmark = pytest.mark.usefixtures("short")


REFERENCES = References({"P276": {"Rome in Italy": ["The city of Rome is the capital of Italy."]}})
TEMPLATE = "{% for m in messages %}{{ m.content }}{% endfor %}"


class Plain:
    """One prompt at a time by passes of the whole model."""

    def __init__(self, model: EditableModel) -> None:
        self.model = model

    @torch.no_grad()
    def rated(self, prompt: str, target: str) -> tuple[float, list[bool]]:
        """Mean negative log-likelihood, and which tokens are the first choice."""
        ids, _ = encode(self.model.tokenizer, prompt)
        goal = list(target_ids(self.model.tokenizer, prompt, target))
        logits = self.model.model(input_ids=torch.tensor([ids + goal])).logits[0].double()
        nll, right = 0.0, []
        for place, token in enumerate(goal, start=len(ids) - 1):
            nll -= float(logits[place].log_softmax(dim=0)[token])
            right.append(int(logits[place].argmax()) == token)
        return nll / len(goal), right

    def likelier(self, prompts: Sequence[str], wanted: str, other: str) -> float:
        hits = [self.rated(p, wanted)[0] < self.rated(p, other)[0] for p in prompts]
        return 100 * sum(hits) / len(hits)

    def exact(self, prompts: Sequence[str], target: str) -> float:
        hits = [all(self.rated(prompt, target)[1]) for prompt in prompts]
        return 100 * sum(hits) / len(hits)

    def fluency(self, prompts: Sequence[str]) -> float:
        # Writing one at a time is itself checked against passes of the whole model.
        asks = [GenerationQuery(prompt, 50, whole=True, top_k=5) for prompt in prompts]
        texts = [ask.prompt + write(self.model, [ask])[0] for ask in asks]
        return 100 * sum(map(variety, texts)) / len(texts)


@pytest.mark.parametrize(("kind", "side"), [("bytes", "left"), ("pieces", "right")])
def test_all_numbers_are_those_of_a_plain_evaluation(kind: Any, side: str) -> None:
    tokenizer = tiny_tokenizer(kind, bos=True, padding_side=side)
    model = tiny_model("llama", tokenizer, dtype=torch.float64)
    plain, (first, second, third) = Plain(model), (r.facts[0] for r in RECORDS)
    new, true = first.target, first.target_true or ""
    other = second.target_true or ""
    expected: dict[str, list[float | None]] = {
        "efficacy": [
            plain.likelier([first.text], new, true),
            plain.likelier([second.text], second.target, other),
            None,
        ],
        "generalization": [plain.likelier(first.paraphrases, new, true), None, None],
        "specificity": [
            plain.likelier(first.neighbors, true, new),
            plain.likelier(second.neighbors, other, second.target),
            None,
        ],
        "efficacy_accuracy": [plain.exact([f.text], f.target) for f in (first, second, third)],
        "generalization_accuracy": [plain.exact(first.paraphrases, new), None, None],
        "specificity_accuracy": [
            plain.exact(first.neighbors, true),
            plain.exact(second.neighbors, other),
            None,
        ],
        "fluency": [
            plain.fluency(["The Eiffel Tower has", "Go to", "The Eiffel Tower has"]),
            plain.fluency([second.text]),
            plain.fluency([third.text]),
        ],
    }
    for name, judge in (("generation_starts", begins), ("generation_contains", mentions)):
        texts = [write(model, [GenerationQuery(f.text, 24)])[0] for f in (first, second, third)]
        expected[name] = [
            100.0 * judge(text, [f.target])
            for text, f in zip(texts, (first, second, third), strict=True)
        ]
    found = evaluate(model, RECORDS, monitor=quiet())
    for name, values in expected.items():
        assert found[name].values == pytest.approx(values, abs=1e-4), name
        known = [value for value in values if value is not None]
        assert found[name].count == len(known)
        assert found[name].mean == pytest.approx(sum(known) / len(known), abs=1e-4)
    assert found["fluency"].mean and 100 < found["fluency"].mean < 700
    assert set(found.measured) == set(chosen(RECORDS)) > set(expected)


def test_in_single_precision_they_are_the_same_up_to_rounding() -> None:
    """Alone or among others, so whatever they are padded to."""
    model = tiny_model("llama")
    pairs = [(TOLD.text, target) for target in ("Rome in Italy", "Paris", "the capital of Japan")]
    pairs += [(prompt, "Paris") for prompt in (*TOLD.paraphrases, *TOLD.neighbors)]
    for (prompt, target), rating in zip(pairs, rate(model, pairs), strict=True):
        alone = rate(model, [(prompt, target)])[0]
        assert rating.score.nll == pytest.approx(alone.score.nll, abs=1e-4)
        assert rating.score.nll == pytest.approx(Plain(model).rated(prompt, target)[0], abs=1e-4)
        assert rating.predicted == alone.predicted


def test_every_question_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rated: list[Any] = []
    written: list[Any] = []

    def rating(model: EditableModel, pairs: Any, *rest: Any) -> Any:
        rated.append(pairs)
        return rate(model, pairs, *rest)

    def writing(model: EditableModel, asks: Any, *rest: Any) -> Any:
        written.append(asks)
        return write(model, asks, *rest)

    monkeypatch.setattr(evaluation, "rate", rating)
    monkeypatch.setattr(evaluation, "write", writing)
    names = [*chosen(RECORDS), *chosen(RECORDS, compat="easyedit"), "locality"]
    found = evaluate(tiny_model(), [*RECORDS, *RECORDS], names, quiet())
    [pairs], [asks] = rated, written
    assert len(set(pairs)) == len(pairs) and len(set(asks)) == len(asks)
    # Three own prompts, two paraphrases and four neighbors; with two targets but for the third.
    assert len(pairs) == 2 * (2 + 2 + 4) + 1
    assert len(asks) == 2 + 1 + 1 + 3  # texts of fluency, and a greedy one of each own prompt
    assert len(found.answers) > len(pairs) + len(asks) - 1


def test_means_errors_and_reasons() -> None:
    class Length(Metric):
        name = "length"
        title = "Length"
        formula = "characters of the record's name"
        source = "nobody"
        needs = "a name"

        def queries(self, record: Record) -> list[Query]:
            return [LikelihoodQuery("Rome", "is")] if record.name else []

        def value(self, record: Record, answers: Sequence[Answer]) -> float | None:
            return float(len(record.name))

    def of(*names: str) -> evaluation.Measured:
        records = [Record("x", name, (FACTS[0],)) for name in names]
        return evaluate(tiny_model(), records, [Length], quiet())["length"]

    found = of("a", "abcd", "", "ab")
    assert found.values == [1, 4, None, 2]
    assert (found.mean, found.count, found.reason) == (pytest.approx(7 / 3), 3, "")
    # Deviations -4/3, 5/3, -1/3: squares 42/9, over 2 · 3.
    assert found.error == pytest.approx(math.sqrt(42 / 9 / 6))
    assert of("abc").error is None and of("abc").mean == 3
    none = of("", "")
    assert (none.mean, none.error, none.count) == (None, None, 0)
    assert none.reason == "no record has a name"


def test_what_is_missing_is_said() -> None:
    alone = evaluate(tiny_model(), RECORDS[2:], monitor=quiet())
    assert alone["efficacy"].mean is None
    assert alone["efficacy"].reason == "no record has a fact with a true target"
    assert alone["score"].mean is None and "efficacy" in alone["score"].reason
    assert "--references" in alone["consistency"].reason
    assert "chat template" in alone["chat_contains"].reason
    assert any(line.startswith("consistency: no reference") for line in alone.reasons())
    known = evaluate(tiny_model(), RECORDS, ["consistency"], quiet(), references=REFERENCES)
    assert known["consistency"].count == 1 and known["consistency"].mean
    other = evaluate(tiny_model(), RECORDS[1:], ["consistency"], quiet(), references=REFERENCES)
    assert other["consistency"].reason.startswith("no record has a relation and target")


def test_the_score_is_made_of_the_means_and_brings_them() -> None:
    found = evaluate(tiny_model(), RECORDS, ["score"], quiet())
    assert list(found.measured) == ["efficacy", "generalization", "specificity", "score"]
    means = [found[name].mean or 0 for name in ("efficacy", "generalization", "specificity")]
    expected = 3 / sum(1 / mean for mean in means) if all(means) else 0
    assert found["score"].mean == pytest.approx(expected)
    assert found["score"].values == () and found["score"].error is None


def test_locality_compares_with_the_unedited_model() -> None:
    model = tiny_model("llama")
    names = ["locality", "locality_acc"]
    before = evaluate(model, RECORDS, names, quiet())
    assert before["locality"].mean is None and "unedited" in before["locality"].reason
    same = evaluate(model, RECORDS, names, quiet(), before=before)
    assert same["locality"].mean == same["locality_acc"].mean == 100
    with torch.no_grad():
        model.architecture.matrix(1).add_(torch.randn(model.architecture.matrix(1).shape))
    after = evaluate(model, RECORDS, names, quiet(), before=before)
    plain, changed = Plain(model), Plain(tiny_model("llama"))
    shares = []
    for prompt in TOLD.neighbors:
        now, then = (guessed(p, prompt, TOLD.target_true or "") for p in (plain, changed))
        shares.append(sum(a == b for a, b in zip(now, then, strict=True)) / len(now))
    assert after["locality_acc"].values[0] == pytest.approx(100 * sum(shares) / len(shares))
    assert after["locality_acc"].mean is not None and after["locality_acc"].mean < 100


def guessed(plain: Plain, prompt: str, target: str) -> list[int]:
    ids, _ = encode(plain.model.tokenizer, prompt)
    goal = list(target_ids(plain.model.tokenizer, prompt, target))
    logits = plain.model.model(input_ids=torch.tensor([ids + goal])).logits[0]
    return [int(token) for token in logits[len(ids) - 1 : -1].argmax(dim=-1)]


def test_texts_go_by_the_seed() -> None:
    model = tiny_model("llama")
    values = [
        evaluate(model, RECORDS, ["fluency"], quiet(), seed=seed)["fluency"].values
        for seed in (0, 0, 1)
    ]
    assert values[0] == values[1] != values[2]


def test_chats_are_asked_where_there_is_a_template() -> None:
    model = tiny_model("llama")
    model.tokenizer.chat_template = TEMPLATE
    found = evaluate(model, RECORDS, ["chat_contains"], quiet())
    assert found["chat_contains"].count == 3


def test_a_model_that_is_broken_is_measured_all_the_same() -> None:
    model = tiny_model("llama")
    with torch.no_grad():
        model.architecture.matrix(0).fill_(float("nan"))
    found = evaluate(model, RECORDS, monitor=quiet())
    assert [
        found[n].mean
        for n in ("efficacy", "specificity", "efficacy_accuracy", "generation_contains")
    ] == [0] * 4
    assert found["score"].mean == 0
    json.dumps(found.to_dict(), allow_nan=False)


def test_every_data_set_can_be_evaluated() -> None:
    """What each of them keeps where, and by whose definitions soever."""
    probes = (
        Probe("portability/Reasoning", "Newton spoke", ("Japanese",)),
        Probe("locality/Relation", "Newton died in", ("England",)),
        Probe("single-hop", "In which land was Newton born?", ("Japan",)),
        Probe("multi-hop", "Where was Newton born?", ("Japan", "Nippon")),
        Probe("essay/subject", "Write about Newton", ("Japan",), ("England",)),
        Probe("essay/coupled", "Write about mechanics", ("Japan",), ("England",)),
    )
    model = tiny_model("llama", max_position_embeddings=256)
    for dataset in ("zsre", "knowedit-zsre", "mquake-cf", "longform"):
        record = Record(dataset, "record 1", (FACTS[1].changed(paraphrases=["He is in"]),), probes)
        for compat in ("paper", "easyedit"):
            before = evaluate(model, [record], None, quiet(), compat=compat)  # type: ignore[arg-type]
            found = evaluate(model, [record], None, quiet(), compat=compat, before=before)  # type: ignore[arg-type]
            without = {name for name, one in found.measured.items() if one.mean is None}
            assert without == {"chat_contains"}


def test_the_unedited_model_is_asked_what_a_whole_evaluation_asks() -> None:
    """Which rows go together decides the last bits, and what is likeliest in 16 bits with them."""
    model = tiny_model("llama")
    assert compared_with(model, RECORDS, ["efficacy", "fluency"], quiet()) is None
    names = ["efficacy", "locality", "efficacy_accuracy", "generation_contains", "fluency"]
    whole = evaluate(model, RECORDS, names, quiet())
    before = compared_with(model, RECORDS, names, quiet())
    assert before is not None
    likely = [ask for ask in whole.answers if not isinstance(ask, GenerationQuery)]
    assert [ask for ask in before.answers if not isinstance(ask, GenerationQuery)] == likely
    assert all(before.answers[ask] == whole.answers[ask] for ask in before.answers)
    texts = [ask for ask in before.answers if isinstance(ask, GenerationQuery)]
    assert len(texts) < len(whole.answers) - len(likely)  # those of locality alone
    found = evaluate(model, RECORDS, names, quiet(), before=before)
    assert found["locality"].mean == 100


def test_what_it_shows_is_escaped_and_complete() -> None:
    strange = Record("counterfact", "<script>", RECORDS[0].facts, ())
    found = evaluate(tiny_model(), [strange], ["score", "consistency"], quiet())
    shown = found._repr_html_()
    assert "<script>" not in shown and "&lt;" in shown  # NLL(new) < NLL(true)
    for one in found.measured.values():
        assert one.metric.title in shown and one.metric.name in repr(found)
    assert "no reference texts; give a file" in shown and "no reference texts" in repr(found)
    stored = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert stored["records"] == ["<script>"] and stored["datasets"] == ["counterfact"]
    efficacy = stored["metrics"]["efficacy"]
    assert efficacy["n"] == 1 and efficacy["values"] == [efficacy["mean"]]
    assert efficacy["formula"] and efficacy["source"] and efficacy["direction"] == "higher"
    cards = evaluation.metric_cards_html(list(metrics().values()))
    assert cards.count("<dt>") == len(metrics())


def test_it_refuses_and_can_be_canceled() -> None:
    with pytest.raises(InputError, match="no records"):
        evaluate(tiny_model(), [])
    with pytest.raises(InputError, match="efficacy"):
        evaluate(tiny_model(), RECORDS, ["efficiency"])
    with pytest.raises(InputError, match="at least one"):
        evaluate(tiny_model(), RECORDS, [])
    with pytest.raises(InputError, match="easyedit"):
        evaluate(tiny_model(), RECORDS, compat="mine")  # type: ignore[arg-type]
    with pytest.raises(Canceled):
        evaluate(tiny_model(), RECORDS, monitor=Monitor(None, lambda: True))


def test_stages_end_at_their_totals() -> None:
    seen: dict[str, tuple[float, float | None]] = {}

    def show(stage: Any, *, closed: bool) -> None:
        seen[stage.name] = (stage.done, stage.total)

    evaluate(tiny_model(), RECORDS, ["efficacy", "fluency"], Monitor(show))
    assert set(seen) == {"likelihoods", "texts"}
    assert all(done == total for done, total in seen.values())


def test_without_nltk_fluency_is_refused_when_asked_for_and_left_out_when_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "nltk", None)
    line = 'fluency needs nltk; install it: pip install "alphaedit-workbench[eval]"'
    for ask in (lambda: chosen([], ["efficacy", "fluency"]), lambda: variety("some words")):
        with pytest.raises(InputError) as caught:
            ask()
        assert str(caught.value) == line
    found = evaluate(tiny_model(), RECORDS[:1], None, quiet())
    assert (found["fluency"].mean, found["fluency"].reason) == (None, line)
    assert found["efficacy"].mean is not None
