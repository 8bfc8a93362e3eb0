"""The whole command, per additional fact, against the released code's work pattern.

Start-up and loading are paid once, so the command runs with few and with many facts, and the
difference counts. The plain implementation runs in this process and omits only these one-time
costs.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from alphaedit_core.data.fact_files import write_facts
from alphaedit_core.data.facts import Fact
from alphaedit_core.editing.closed_form import PreviousKeys, closed_form
from alphaedit_core.editing.config import EditConfig
from alphaedit_core.editing.defaults import default_hyperparameters
from alphaedit_core.editing.subject_keys import SubjectStates
from alphaedit_core.errors import AlphaEditError
from alphaedit_core.model.batch_planning import plan_batches
from alphaedit_core.model.editable_model import EditableModel
from alphaedit_core.model.forward import pad_rows
from alphaedit_core.model.tokenization import TokenizedFact, prepare
from alphaedit_core.nullspace.projectors import Projector
from alphaedit_core.progress import Monitor
from alphaedit_core.session.outcomes import query_facts
from alphaedit_core.session.session import EditSession

from .arithmetic import least_keys, least_observation, least_search
from .machine import Machine
from .report import Ratio, Report, figure
from .targets import spread
from .textbook import dense, plain_target, plain_update
from .timing import say, timed

WANTED = 5.0

_TARGETS, _UPDATE, _OBSERVATION = "target values", "keys and update", "before and after"
#: Stages of the command that each part consists of.
_STAGES = {
    _TARGETS: ("target values",),
    _UPDATE: ("keys and update",),
    _OBSERVATION: ("before", "after"),
}


def benchmark(
    model: EditableModel,
    facts: Sequence[Fact],
    machine: Machine,
    slow: int = 3,
    hyperparameters: EditConfig | None = None,
) -> Report:
    """Measure seconds per additional fact of ``alphaedit edit`` and the plain implementation.

    Args:
        model: the model, unedited.
        facts: facts for the command; it is run with a quarter of them and with all.
        machine: where this runs.
        slow: number of facts for the plain implementation.
        hyperparameters: None for the model's.
    """
    hp = hyperparameters or default_hyperparameters(model)
    few, many = max(1, len(facts) // 4), len(facts)
    if few == many:
        raise AlphaEditError(f"benchmark command: {many} facts are too few; give --facts 8 or more")
    say("command: statistics, if the cache has none")
    session = EditSession(model, hyperparameters=hp)
    projectors = {
        layer: spectrum.projector(hp.threshold) for layer, spectrum in session.spectra().items()
    }
    requests = prepare(model, facts, session.contexts, hp.layers[-1])
    session.close()
    some = spread(model, requests, hp.layers[-1], slow)

    report = Report("command", "The whole command, per additional fact")
    say("command: checking that both sides agree")
    _check(report, model, some, projectors, hp)
    middle = (len(some) + 1) // 2
    with tempfile.TemporaryDirectory() as folder:
        say("command: alphaedit edit, to warm up")
        _command(model, facts[:1], hp, Path(folder))
        say(f"command: plain implementation, {len(some)} facts around the command")
        first, evaluations = _plain(model, some[:middle], hp)
        say(f"command: alphaedit edit with {few} and with {many} facts")
        stages_few, seconds_few = _command(model, facts[:few], hp, Path(folder))
        stages_many, seconds_many = _command(model, facts, hp, Path(folder))
        rest, more = _plain(model, some[middle:], hp)
    plain = {part: (first[part] + rest[part]) / len(some) for part in first}
    plain[_UPDATE] += _plain_updates(model, many, projectors, hp) / many

    def per_fact(of_few: float, of_many: float) -> float:
        return (of_many - of_few) / (many - few)

    library = {
        part: per_fact(
            sum(stages_few[stage] for stage in stages), sum(stages_many[stage] for stage in stages)
        )
        for part, stages in _STAGES.items()
    }
    mean_evaluations = (evaluations + more) / len(some)
    floor = _floor(model, requests[few:], hp, mean_evaluations)
    library["whole command"] = per_fact(seconds_few, seconds_many)
    plain["whole command"] = sum(plain.values())
    floor["whole command"] = sum(floor.values())

    report.columns = (
        "", "library s/fact", "plain s/fact", "ratio", "floor GFLOP/fact", "library GFLOP/s",
        "share of peak",
    )  # fmt: skip
    for part, seconds in library.items():
        rate = floor[part] / seconds / 1e9
        report.rows.append(
            (
                part, figure(seconds), figure(plain[part]), f"{figure(plain[part] / seconds)} ×",
                figure(floor[part] / 1e9), figure(rate), machine.share(rate),
            )
        )  # fmt: skip
    ratio = plain["whole command"] / library["whole command"]
    report.ratios = [Ratio("whole command per additional fact", ratio, WANTED)]
    report.notes = [
        f"`alphaedit edit` took {figure(seconds_few)} s with {few} facts and "
        f"{figure(seconds_many)} s with {many}, in one batch, from the shell, with a warm cache; "
        "its parts are from `--json`.",
        f"Plain implementation, {len(some)} facts, early stopping as in the command "
        f"({figure(mean_evaluations)} evaluations per fact): target values by the whole model; "
        f"for each of {len(hp.layers)} layers, the whole model for the keys, for the hidden state, "
        f"and again for the keys afterward; one dense update per layer for {many} facts; "
        "completions and scores one fact at a time, before and after.",
        "Floor: as for the target values, with the plain implementation's mean number of "
        "evaluations; every row once up to the last edited block and again from each edited one; "
        "the tokens of the completions once each, with the prompt shared by the scores. The "
        "update itself is negligible.",
    ]
    return report


def _command(
    model: EditableModel, facts: Sequence[Fact], hp: EditConfig, folder: Path
) -> tuple[dict[str, float], float]:
    """Seconds per stage, as the command reports them, and in total, as the shell measures them."""
    file, config = folder / "facts.json", folder / "config.json"
    write_facts(file, facts)
    fields = {name: value for name, value in hp.to_dict().items() if name != "source"}
    config.write_text(json.dumps(fields), encoding="utf-8")
    words = [sys.executable, "-m", "alphaedit_core", "edit", str(file), "--json"]
    words += ["--model", model.name, "--config", str(config)]
    words += ["--device", str(model.device), "--batch-size", str(len(facts))]
    done, seconds = timed(lambda: subprocess.run(words, capture_output=True, text=True))
    if done.returncode:
        raise AlphaEditError(f"benchmark command: {' '.join(words)} failed: {done.stderr[-2000:]}")
    answer: dict[str, Any] = json.loads(done.stdout)
    if len(answer["facts"]) != len(facts):
        raise AlphaEditError(
            f"benchmark command: {len(answer['facts'])} facts came back of {len(facts)}"
        )
    return answer["seconds"], seconds


def _plain(
    model: EditableModel, some: Sequence[TokenizedFact], hp: EditConfig
) -> tuple[dict[str, float], int]:
    """Seconds of each part for some facts, without the solves, and the total of evaluations."""
    quiet = Monitor(show=None)
    searches, targets = timed(lambda: [plain_target(model, request, hp) for request in some])

    def measure() -> None:
        for layer in hp.layers:
            for request in some:
                plain_key(model, request, layer)
            for request in some:
                plain_state(model, request, hp.layers[-1])
        # Afterwards the keys on the edited model join those of earlier facts.
        for layer in hp.layers:
            for request in some:
                plain_key(model, request, layer)

    def look() -> None:
        for _ in ("before", "after"):
            for request in some:
                query_facts(model, [request.fact], quiet)

    _, keys = timed(measure)
    _, observation = timed(look)
    seconds = {_TARGETS: targets, _UPDATE: keys, _OBSERVATION: observation}
    return seconds, sum(len(search.losses) for search in searches)


@torch.no_grad()
def plain_key(model: EditableModel, request: TokenizedFact, layer: int) -> Tensor:
    """One fact's key by the whole model with all logits, (d_in,)."""
    seen: list[Tensor] = []
    hook = model.architecture.down_projections[layer].register_forward_pre_hook(
        lambda _module, args: seen.append(args[0])
    )
    ids = pad_rows([row.ids for row in request.rows], model.device)
    try:
        model.model(input_ids=ids, use_cache=False)
    finally:
        hook.remove()
    keys = seen[0].view(*ids.shape, -1)
    own = torch.stack([keys[i, row.subject] for i, row in enumerate(request.rows)])
    return own[0] if len(own) == 1 else (own[0] + own[1:].mean(dim=0)) / 2


@torch.no_grad()
def plain_state(model: EditableModel, request: TokenizedFact, last: int) -> Tensor:
    """Output of a block at the subject's last token of the bare prompt, (hidden_size,)."""
    seen: list[Any] = []
    hook = model.architecture.blocks[last].register_forward_hook(
        lambda _module, _args, out: seen.append(out[0] if isinstance(out, tuple) else out)
    )
    bare = request.rows[0]
    try:
        model.model(input_ids=torch.tensor([bare.ids], device=model.device), use_cache=False)
    finally:
        hook.remove()
    state: Tensor = seen[0][0, bare.subject]
    return state


def _plain_updates(
    model: EditableModel, count: int, projectors: Mapping[int, Projector], hp: EditConfig
) -> float:
    """Seconds of one dense update a layer for ``count`` facts, with P made before.

    Any keys will do: they make no difference in time.
    """
    total = 0.0
    for projector in projectors.values():
        keys = torch.randn(projector.size, count)
        residual = torch.randn(model.architecture.hidden_size, count)
        p, earlier = dense(projector), keys @ keys.T
        _, seconds = timed(partial(plain_update, keys, residual, p, hp.ridge, earlier))
        total += seconds
    return total


def _floor(
    model: EditableModel, requests: Sequence[TokenizedFact], hp: EditConfig, evaluations: float
) -> dict[str, float]:
    """Operations per fact of each part, at least."""
    last = hp.layers[-1]
    count = len(requests)
    return {
        _TARGETS: sum(least_search(model, r, last).total(evaluations) for r in requests) / count,
        _UPDATE: sum(least_keys(model, r, hp.layers) for r in requests) / count,
        _OBSERVATION: sum(2 * least_observation(model, r) for r in requests) / count,
    }


def _check(
    report: Report,
    model: EditableModel,
    some: Sequence[TokenizedFact],
    projectors: Mapping[int, Projector],
    hp: EditConfig,
) -> None:
    states = SubjectStates(model, some, hp.layers, plan_batches(model), Monitor(show=None))
    key_far = state_far = update_far = 0.0
    for layer in hp.layers:
        keys, state = states.read(layer)[:2]
        plain_keys = torch.stack([plain_key(model, request, layer) for request in some], dim=1)
        plain_states = torch.stack([plain_state(model, r, hp.layers[-1]) for r in some])
        projector = projectors[layer]
        residual = state.T
        none = PreviousKeys.none(len(keys), keys.device)
        change = closed_form(
            keys=keys, residual=residual, preconditioner=projector, mu=hp.ridge, previous=none
        )
        plain = plain_update(
            keys, residual, dense(projector), hp.ridge, keys.new_zeros(len(keys), len(keys))
        )
        key_far = max(key_far, _distance(keys, plain_keys))
        state_far = max(state_far, _distance(state, plain_states))
        update_far = max(update_far, _distance(change.left @ change.right.T, plain))
    report.check("keys", key_far, 1e-4)
    report.check("hidden states", state_far, 1e-4)
    report.check("updates from the same keys", update_far, 1e-3)
    quiet = Monitor(show=None)
    together = query_facts(model, [request.fact for request in some], quiet)
    apart = [query_facts(model, [request.fact], quiet)[0] for request in some]
    pairs = list(zip(together, apart, strict=True))
    report.check("scores", max(abs(a.new.nll - b.new.nll) / b.new.nll for a, b in pairs), 1e-3)
    report.check(
        "number of different completions", sum(a.completion != b.completion for a, b in pairs), 0.0
    )


def _distance(a: Tensor, b: Tensor) -> float:
    return float((a.double() - b.double()).norm() / b.double().norm())
