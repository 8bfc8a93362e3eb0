"""An evaluation on CounterFact: all records at once against one record at a time.

The plain side follows the work pattern of the released evaluation (Meng et al. 2023, Fang et al.
2025): for each record one padded batch of every prompt with either target, logits of all positions
and a loop over the targets' tokens, and then one batch of its ten prompts for generation, token by
token from the end of the shortest one.

About three of the ten prompts that a CounterFact record lists are distinct. The plain
implementation generates ten texts, the library three, which count as often as they are listed. Both
sample by seed and prompt, so the numbers are the same. A separate ratio shows the gain without this
difference.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from alphaedit_core.data.facts import Fact
from alphaedit_core.data.records import Probe, Record
from alphaedit_core.evaluation.evaluate import evaluate
from alphaedit_core.evaluation.metrics.fluency import variety
from alphaedit_core.evaluation.metrics.prompt_sets import generation_prompts
from alphaedit_core.inference.batch_generation import draws_of
from alphaedit_core.inference.completions import new_text
from alphaedit_core.model.editable_model import EditableModel
from alphaedit_core.model.forward import pad_rows
from alphaedit_core.model.loading import wrap
from alphaedit_core.model.tokenization import encode, target_ids
from alphaedit_core.progress import Monitor

from .machine import Machine
from .report import Ratio, Report, figure
from .timing import say, timed

WANTED = 5.0

_LIKELIHOODS = (
    "efficacy", "generalization", "specificity", "efficacy_accuracy", "generalization_accuracy",
    "specificity_accuracy",
)  # fmt: skip
#: The parts of an evaluation, and what belongs to each.
_PARTS = {"likelihoods": _LIKELIHOODS, "texts": ("fluency",)}
#: Prompts for generation that a CounterFact record lists, and how many of them differ.
_PROMPTS, _DIFFERENT = 10, 3

Values = dict[str, float]


def benchmark(
    model: EditableModel, records: Sequence[Record], machine: Machine, slow: int = 6
) -> Report:
    """Seconds per record of both sides, by part and in total.

    Args:
        model: the model.
        records: records for the library.
        machine: where this runs.
        slow: how many of them the plain side gets, evenly spread.
    """
    report = Report("evaluation", "Evaluation")
    count = min(slow, len(records))
    some = [records[int((i + 0.5) * len(records) / count)] for i in range(count)]
    say("evaluation: checking that both sides agree")
    double = wrap(copy.deepcopy(model.model).double(), model.tokenizer, model.name)
    _check(report, double, some[:1])
    del double
    report.columns = ("", "library s/record", "plain s/record", "ratio")
    seconds: dict[str, tuple[float, float]] = {}
    for part, names in _PARTS.items():
        say(f"evaluation: {part}")
        seconds[part] = _times(model, records, some, part, names)
    fast, plain = (sum(both[side] for both in seconds.values()) for side in (0, 1))
    seconds["total"] = fast, plain
    for part, (fast, plain) in seconds.items():
        report.rows.append((part, figure(fast), figure(plain), f"{figure(plain / fast)} ×"))
        wanted = WANTED if part == "total" else None
        report.ratios.append(Ratio(f"seconds per record, {part}", plain / fast, wanted))
    prompts = _mean([len(_prompts(record.facts[0])) for record in records])
    listed = _mean([sum(generation_prompts(record).values()) for record in some])
    written = _mean([len(generation_prompts(record)) for record in records])
    fast, plain = seconds["texts"]
    report.ratios.append(Ratio("seconds per text", plain / listed / (fast / written)))
    likely, text = seconds["likelihoods"], plain / listed * written
    report.ratios.append(
        Ratio(
            "seconds per record, with every text generated once on both sides",
            (likely[1] + text) / (likely[0] + fast),
        )
    )
    report.notes = [
        f"{len(records)} records together in the library, {len(some)} of them one at a time in the "
        "plain implementation, half before and half after the library's run.",
        f"A record has {prompts:.1f} prompts, each scored with two targets, and {listed:.1f} "
        f"generation prompts for texts of 100 tokens, {written:.1f} of them distinct. The plain "
        "implementation generates a text for each, the library for each distinct one. Both sample "
        "with the same random numbers and generate the same texts up to rounding.",
    ]
    return report


def records_of(facts: Sequence[Fact]) -> list[Record]:
    """Facts with a true target as records that list prompts as CounterFact does: few, often."""
    found = []
    for number, fact in enumerate(facts, 1):
        if fact.target_true is None:
            continue
        own = [fact.text, *fact.paraphrases][:_DIFFERENT]
        prompts = [own[i % len(own)] for i in range(_PROMPTS)]
        probes = tuple(Probe("generation", prompt) for prompt in prompts)
        found.append(Record("counterfact", f"fact {number}", (fact,), probes))
    return found


def plain_likelihoods(model: EditableModel, record: Record) -> Values:
    """One record's numbers by one padded batch and the logits of every position."""
    [fact] = record.facts
    targets = (fact.target, fact.target_true or "")
    rows, reads = [], []
    for prompt, _ in _prompts(fact):
        front = encode(model.tokenizer, prompt)[0]
        for target in targets:
            own = target_ids(model.tokenizer, prompt, target)
            rows.append([*front, *own])
            reads.append((len(front), own))
    with torch.no_grad():
        logits = model.model(input_ids=pad_rows(rows, model.device)).logits
    rated = []
    for row, (first, own) in zip(logits, reads, strict=True):
        nll, exact = 0.0, True
        for place, token in enumerate(own):
            now = row[first - 1 + place]
            nll -= float(now.log_softmax(dim=0)[token])
            exact = exact and int(now.argmax()) == token
        rated.append((nll / len(own), exact))
    found: dict[str, list[bool]] = {}
    for (_, kind), new, true in zip(_prompts(fact), rated[::2], rated[1::2], strict=True):
        wanted, other = (true, new) if kind == "specificity" else (new, true)
        found.setdefault(kind, []).append(wanted[0] < other[0])
        found.setdefault(f"{kind}_accuracy", []).append(wanted[1])
    return {name: 100 * sum(hits) / len(hits) for name, hits in found.items()}


def plain_texts(model: EditableModel, record: Record, seed: int = 0) -> Values:
    """One record's fluency by one batch of its prompts, a token of each at a time."""
    asks = [ask for ask, count in generation_prompts(record).items() for _ in range(count)]
    prompts = [encode(model.tokenizer, ask.prompt)[0] for ask in asks]
    draws = [
        draws_of(seed, prompt, ask.draw, max(0, ask.tokens - len(prompt)))
        for ask, prompt in zip(asks, prompts, strict=True)
    ]
    rows = [list(prompt) for prompt in prompts]
    length, cache = asks[0].tokens, None
    start = min(len(prompt) for prompt in prompts)
    fed = torch.tensor([row[:start] for row in rows], device=model.device)
    with torch.no_grad():
        for place in range(start, length):
            out = model.model(input_ids=fed, past_key_values=cache, use_cache=True)
            cache = out.past_key_values
            tokens = _drawn(out.logits[:, -1], asks[0].top_k, [
                own[place - len(prompt)] if place >= len(prompt) else 0.0
                for own, prompt in zip(draws, prompts, strict=True)
            ])  # fmt: skip
            for row, prompt, token in zip(rows, prompts, tokens, strict=True):
                if place >= len(prompt):
                    row.append(token)
            fed = torch.tensor([[row[place]] for row in rows], device=model.device)
    varieties = []
    for ask, prompt, row in zip(asks, prompts, rows, strict=True):
        text = new_text(model.tokenizer, prompt, row[len(prompt) :])
        varieties.append(variety(ask.prompt + text))
    return {"fluency": 100 * sum(varieties) / len(varieties)}


def _drawn(logits: Tensor, top_k: int, draws: Sequence[float]) -> list[int]:
    chances, tokens = logits.softmax(dim=1).topk(top_k, dim=1)
    steps = (chances / chances.sum(dim=1, keepdim=True)).double().cumsum(dim=1)
    drawn = torch.tensor(draws, dtype=torch.float64, device=logits.device)[:, None]
    choice = (steps <= drawn).sum(dim=1, keepdim=True).clamp(max=top_k - 1)
    return [int(token) for token in tokens.gather(1, choice)]


_PLAIN: dict[str, Callable[[EditableModel, Record], Values]] = {
    "likelihoods": plain_likelihoods,
    "texts": plain_texts,
}


def _prompts(fact: Fact) -> list[tuple[str, str]]:
    """Return a record's prompts, each with its measure."""
    return [
        (fact.text, "efficacy"),
        *((prompt, "generalization") for prompt in fact.paraphrases),
        *((prompt, "specificity") for prompt in fact.neighbors),
    ]


def _times(
    model: EditableModel,
    records: Sequence[Record],
    some: Sequence[Record],
    part: str,
    names: Sequence[str],
) -> tuple[float, float]:
    """Seconds per record of the library and of the plain side."""
    middle = (len(some) + 1) // 2

    def plain(own: Sequence[Record]) -> float:
        return timed(lambda: [_PLAIN[part](model, record) for record in own])[1]

    first = plain(some[:middle])
    _, fast = timed(lambda: evaluate(model, records, names, Monitor(show=None)))
    rest = plain(some[middle:])
    return fast / len(records), (first + rest) / len(some)


def _mean(values: Sequence[int]) -> float:
    return sum(values) / len(values)


def _check(report: Report, model: EditableModel, records: Sequence[Record]) -> None:
    """Both sides in float64, where rounding hardly ever makes another token the one that is drawn.

    Each record's values are compared, not the means.
    """
    names = [name for own in _PARTS.values() for name in own]
    found = evaluate(model, records, names, Monitor(show=None))
    differences = []
    for index, record in enumerate(records):
        plain = plain_likelihoods(model, record) | plain_texts(model, record)
        for name, value in plain.items():
            own = found[name].values[index]
            differences.append(float("nan") if own is None else abs(own - value))
    report.check(f"values of {len(records)} records in float64", max(differences), 1e-4)
