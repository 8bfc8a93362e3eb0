"""Target values: many facts at once against one fact at a time through the whole model."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from alphaedit_core.data.facts import Fact
from alphaedit_core.editing.config import EditConfig
from alphaedit_core.editing.defaults import default_hyperparameters
from alphaedit_core.editing.target_search import Targets, find_targets
from alphaedit_core.model.batch_planning import plan_batches
from alphaedit_core.model.editable_model import EditableModel
from alphaedit_core.model.loading import wrap
from alphaedit_core.model.tokenization import TokenizedFact, prepare
from alphaedit_core.progress import Monitor
from alphaedit_core.session.session import EditSession

from .arithmetic import least_search, plain_search
from .machine import Machine
from .report import Ratio, Report, figure
from .textbook import PlainTarget, plain_target
from .timing import say, timed

WANTED = 8.0


@dataclass(frozen=True)
class _Times:
    """One comparison: the library on all facts, the plain way on some of them."""

    fast: Targets
    fast_seconds: float
    slow: list[PlainTarget]
    slow_seconds: float


def benchmark(
    model: EditableModel,
    facts: Sequence[Fact],
    machine: Machine,
    slow: int = 6,
    hyperparameters: EditConfig | None = None,
) -> Report:
    """Seconds per fact of both, with equally many steps for every fact and with early stopping.

    Args:
        model: the model, unedited.
        facts: facts for the library.
        machine: where this runs.
        slow: how many of them the plain way gets; evenly spread over the costs of all.
        hyperparameters: None for the model's.
    """
    hp = hyperparameters or default_hyperparameters(model)
    last = hp.layers[-1]
    requests = requests_of(model, facts, hp)
    some = spread(model, requests, last, slow)
    report = Report("targets", "Target values")
    say("targets: checking that both sides agree")
    _check(report, model, some[:2], hp)
    _compare(model, requests[:2], some[:1], hp.replace(target_steps=2))  # warms up

    report.columns = (
        "", "library s/fact", "plain s/fact", "ratio", "evaluations", "plain evaluations",
        "floor GFLOP/fact", "library GFLOP/s", "share of peak", "plain GFLOP/fact", "plain GFLOP/s",
    )  # fmt: skip
    cases = [
        (f"{hp.target_steps} evaluations for every fact", hp.replace(loss_stop=0.0), WANTED),
        ("with early stopping", hp, None),
    ]
    for name, own, wanted in cases:
        say(f"targets: {name}")
        times = _compare(model, requests, some, own)
        report.ratios.append(
            _row(report, model, requests, some, last, times, machine, name, wanted)
        )
        first = max(
            abs(plain.losses[0][0] - times.fast.traces[requests.index(request)].nll[0])
            / abs(plain.losses[0][0])
            for request, plain in zip(some, times.slow, strict=True)
        )
        report.check(f"losses of the first evaluation, {name}", first, 1e-4)
    costs = [least_search(model, request, last) for request in requests]
    report.notes = [
        f"{len(requests)} facts together in the library, {len(some)} of them one at a time in the "
        "plain implementation, half before and half after the library's run.",
        "Floor: suffix tokens × blocks after the edited one × 2 × parameters forward, the "
        "same backward except after the last evaluation, and the head where the loss needs it. "
        f"It includes the tokens before the subject's last one, once per fact and without the "
        f"context prefixes, which all facts share: {figure(_mean([c.once for c in costs]) / 1e9)} "
        f"GFLOP; an evaluation with its gradient is "
        f"{figure(_mean([c.forward + c.backward for c in costs]) / 1e9)} GFLOP.",
        "The operations of the plain implementation are counted without its padding.",
    ]
    return report


def requests_of(model: EditableModel, facts: Sequence[Fact], hp: EditConfig) -> list[TokenizedFact]:
    """Facts as token rows, with the model's own contexts."""
    session = EditSession(model, hyperparameters=hp)
    contexts = session.contexts
    session.close()
    return prepare(model, facts, contexts, hp.layers[-1])


def spread(
    model: EditableModel, requests: Sequence[TokenizedFact], last: int, count: int
) -> list[TokenizedFact]:
    """Return facts whose costs are representative: the middles of equal shares."""
    ordered = sorted(requests, key=lambda request: plain_search(model, request, last).forward)
    count = min(count, len(ordered))
    return [ordered[int((i + 0.5) * len(ordered) / count)] for i in range(count)]


def _compare(
    model: EditableModel,
    requests: Sequence[TokenizedFact],
    some: Sequence[TokenizedFact],
    hp: EditConfig,
) -> _Times:
    """Half of the plain searches, the library's, the other half: drift of the machine evens out."""
    quiet, plan = Monitor(show=None), plan_batches(model)
    middle = (len(some) + 1) // 2

    def plain(part: Sequence[TokenizedFact]) -> list[PlainTarget]:
        return [plain_target(model, request, hp) for request in part]

    first, first_seconds = timed(lambda: plain(some[:middle]))
    fast, fast_seconds = timed(lambda: find_targets(model, requests, hp, plan, quiet))
    rest, rest_seconds = timed(lambda: plain(some[middle:]))
    return _Times(fast, fast_seconds, first + rest, first_seconds + rest_seconds)


def _row(
    report: Report,
    model: EditableModel,
    requests: Sequence[TokenizedFact],
    some: Sequence[TokenizedFact],
    last: int,
    times: _Times,
    machine: Machine,
    name: str,
    wanted: float | None,
) -> Ratio:
    evaluations = [len(trace.nll) for trace in times.fast.traces]
    plain_evaluations = [len(plain.losses) for plain in times.slow]
    floor = sum(
        least_search(model, request, last).total(count)
        for request, count in zip(requests, evaluations, strict=True)
    )
    plain = sum(
        plain_search(model, request, last).total(count)
        for request, count in zip(some, plain_evaluations, strict=True)
    )
    rate, plain_rate = floor / times.fast_seconds / 1e9, plain / times.slow_seconds / 1e9
    per_fact = times.fast_seconds / len(requests)
    plain_per_fact = times.slow_seconds / len(some)
    ratio = Ratio(f"target values per fact, {name}", plain_per_fact / per_fact, wanted)
    report.rows.append(
        (
            name, figure(per_fact), figure(plain_per_fact), f"{figure(ratio.value)} ×",
            figure(_mean(evaluations)), figure(_mean(plain_evaluations)),
            figure(floor / len(requests) / 1e9), figure(rate), machine.share(rate),
            figure(plain / len(some) / 1e9), figure(plain_rate),
        )
    )  # fmt: skip
    return ratio


def _check(
    report: Report, model: EditableModel, some: Sequence[TokenizedFact], hp: EditConfig
) -> None:
    """Both sides in float64, where rounding is not amplified by Adam's first steps."""
    double = wrap(copy.deepcopy(model.model).double(), model.tokenizer, model.name)
    hp = hp.replace(target_steps=3, loss_stop=0.0)
    fast = find_targets(double, some, hp, plan_batches(double), Monitor(show=None))
    slow = [plain_target(double, request, hp) for request in some]
    z = torch.stack([plain.z for plain in slow])
    report.check(
        "target values after 3 evaluations in float64", float((fast.z - z).norm() / z.norm()), 1e-8
    )
    # Adam's first steps hide the size of a gradient, so the losses they lead to are compared too.
    losses = torch.tensor([trace.loss for trace in fast.traces], dtype=torch.float64)
    plain_losses = torch.tensor(
        [[sum(terms) for terms in plain.losses] for plain in slow], dtype=torch.float64
    )
    difference = float(((losses - plain_losses) / plain_losses).abs().max())
    report.check("losses of 3 evaluations in float64", difference, 1e-8)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
