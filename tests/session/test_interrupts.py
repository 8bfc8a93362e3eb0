"""Ctrl-C anywhere: what was taken is given back, and the session says what the model holds."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch
from examples import CONTEXTS, FACTS, quiet, small
from tiny import tiny_model

import alphaedit_core
from alphaedit_core.editing import edited_weights as weights_module
from alphaedit_core.inference.scoring import target_logprobs
from alphaedit_core.model import hooks as hooks_module
from alphaedit_core.model.editable_model import EditableModel
from alphaedit_core.model.forward import record
from alphaedit_core.session.session import EditSession

CORE = str(Path(alphaedit_core.__file__).parent)


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EditSession]:
    """With two edits, the second undone."""
    folder = tmp_path_factory.mktemp("interrupts")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALPHAEDIT_CACHE", str(folder / "cache"))
        made = EditSession(
            tiny_model(), hyperparameters=small(folder, target_steps=2), contexts=CONTEXTS[:1]
        )
        made.edit(FACTS[:1], monitor=quiet())
        made.edit(FACTS[1:2], monitor=quiet())
        made.undo()
        yield made


def interrupted(work: Callable[[], object], number: int) -> bool:
    """Do work and interrupt it where its so manieth function of the library begins or goes on.

    There, and where a loop goes round, is where Python looks for Ctrl-C. False if there are fewer.
    """
    left = number

    def trace(frame: FrameType, event: str, _: Any) -> None:
        nonlocal left
        if frame.f_code.co_filename.startswith(CORE):
            left -= 1
            if left == 0:
                raise KeyboardInterrupt

    sys.settrace(trace)
    try:
        work()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(None)
    return False


def hooks_in(model: EditableModel) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.model.modules())


def free(model: EditableModel) -> bool:
    """Whether another thread could take the model."""
    found = []

    def take() -> None:
        found.append(model.lock.acquire(blocking=False))
        if found[0]:
            model.lock.release()

    thread = threading.Thread(target=take)
    thread.start()
    thread.join()
    return found[0]


def look_back(session: EditSession) -> None:
    with session.at_state(0):
        pass


def lend(session: EditSession) -> None:
    with session.lend_model():
        pass


@pytest.mark.parametrize("work", [look_back, lend, EditSession.undo, EditSession.redo])
def test_an_interrupt_anywhere_leaves_a_whole_state(
    session: EditSession, work: Callable[[EditSession], None]
) -> None:
    session.restore(1)
    session.restore(0)
    digests = [session.weights_digest(), *(entry.digest for entry in session.history)]
    session.restore(1)
    number = 1
    while interrupted(lambda: work(session), number):
        assert free(session.model) and session.model.ownership.interrupt is None
        assert session.model.owner is session and not session.closed
        assert session.weights_digest() == digests[session.applied]
        session.check_weights()
        session.restore(1)
        number += 1
    assert number > 20


def test_weights_that_an_interrupt_kept_from_coming_back_come_with_the_next_use(
    session: EditSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    session.restore(1)
    digest, moved = session.weights_digest(), session.relative_weight_change()
    real, calls = weights_module.compose, []

    def twice(*args: Any) -> Any:
        """Interrupted on the way back, and again as that is tried once more."""
        calls.append(1)
        if 3 <= len(calls) <= 4:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(weights_module, "compose", twice)
    with pytest.raises(KeyboardInterrupt):
        look_back(session)
    assert len(calls) == 4
    assert session.weights_digest() == digest and session.relative_weight_change() == moved
    session.check_weights()


def test_an_interrupt_as_hooks_are_removed_leaves_a_usable_model() -> None:
    model = tiny_model()
    ids = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        expected = model.model(ids).logits
    number = 1
    while interrupted(lambda: record(model, ids, 1, 1), number):
        assert hooks_in(model) == 0
        with torch.no_grad():
            assert torch.equal(model.model(ids).logits, expected)
        number += 1
    assert number > 10
    assert target_logprobs(model, [("Rome is", "old")])[0].nll > 0


def test_a_hook_that_is_left_behind_answers_to_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    model, seen = tiny_model(), []
    with hooks_module.own_hooks() as hooks:
        hooks.before(model.model, lambda *_: seen.append(1))
        monkeypatch.setattr(hooks, "_set", [])  # as if it could not be found
    assert hooks_in(model) == 1
    with torch.no_grad():
        model.model(torch.tensor([[5]]))
    assert seen == []
