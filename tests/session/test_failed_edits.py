"""What fails, is canceled or is refused changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from examples import FACTS, quiet, small
from sessions import CORRECTED, MODELS, STAGES, A, B, C, new_session, same, same_keys, weights
from tiny import tiny_model

from alphaedit_core.editing import closed_form
from alphaedit_core.editing.edited_weights import EditedWeights
from alphaedit_core.errors import Canceled, InputError, SessionError
from alphaedit_core.progress import Monitor
from alphaedit_core.session import edit_runner
from alphaedit_core.session import session as session_module
from alphaedit_core.session.session import EditSession


class Failure(Exception):
    pass


def assert_untouched(
    session: EditSession, place: Path, fail: Callable[[], None], error: type[BaseException]
) -> None:
    """After B fails on top of A the session is as it was, and C comes out as without the try."""
    history, digest, state = session.history, session.weights_digest(), weights(session.model)
    with pytest.raises(error):
        fail()
    assert session.history == history
    assert session.weights_digest() == digest
    assert same(weights(session.model), state)


@pytest.mark.parametrize(("layout", "dtype"), MODELS[:2])
def test_a_canceled_edit_changes_nothing(place: Path, layout: str, dtype: torch.dtype) -> None:
    """Canceled at the first, the last and many other of the points where it can be."""
    expected = new_session(place, layout, dtype, target_steps=2)
    expected.edit(A, monitor=quiet())
    checks: list[str] = []

    class Counting(Monitor):
        def check(self) -> None:
            checks.append(self._stage.name if self._stage else "")
            super().check()

    expected.edit(FACTS[1:3], batch_size=1, monitor=Counting(None))
    expected.undo()
    assert set(STAGES) <= set(checks)
    # In every stage the first, the middle and the last check.
    points = set()
    for stage in STAGES:
        own = [index for index, name in enumerate(checks) if name == stage]
        points |= {own[0], own[len(own) // 2], own[-1]}

    session = new_session(place, layout, dtype, target_steps=2)
    session.edit(A, monitor=quiet())
    for point in sorted(points):
        left = point

        def cancel() -> bool:
            nonlocal left
            left -= 1
            return left < 0

        def edit(cancel: Callable[[], bool] = cancel) -> None:
            session.edit(FACTS[1:3], batch_size=1, monitor=Monitor(None, cancel))

        assert_untouched(session, place, edit, Canceled)
    for one in (expected, session):
        one.edit(C, monitor=quiet())
    assert session.weights_digest() == expected.weights_digest()
    assert same_keys(session, expected)


@pytest.mark.parametrize(
    ("owner", "name", "call", "error"),
    [
        (edit_runner, "write_batch", 1, Failure),
        (edit_runner, "write_batch", 2, KeyboardInterrupt),
        (EditedWeights, "add", 1, Failure),
        (EditedWeights, "add", 2, KeyboardInterrupt),
        (EditedWeights, "add", 4, torch.OutOfMemoryError),
        (session_module, "query_facts", 1, Failure),
        (session_module, "query_facts", 2, KeyboardInterrupt),
        (session_module, "_kept", 2, torch.OutOfMemoryError),
        (session_module, "_result", 1, Failure),
        (EditedWeights, "digest", 1, KeyboardInterrupt),
    ],
)
def test_an_edit_that_fails_changes_nothing(
    place: Path,
    owner: Any,
    name: str,
    call: int,
    error: type[BaseException],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected, session = (new_session(place, "gpt2", target_steps=2) for _ in range(2))
    for one in (expected, session):
        one.edit(A, monitor=quiet())
    original, calls = getattr(owner, name), 0

    def failing(*args: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        done = original(*args, **options)
        if calls == call:
            raise error
        return done

    def edit() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, failing)
            session.edit(B, batch_size=1, monitor=quiet())

    assert_untouched(session, place, edit, error)
    assert calls == call
    for one in (expected, session):
        one.edit(C, monitor=quiet())
    assert session.weights_digest() == expected.weights_digest()
    assert same_keys(session, expected)


def test_a_restore_that_fails_changes_nothing(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = new_session(place)
    session.edit(A, monitor=quiet())
    session.edit(B, monitor=quiet())
    put, calls = EditedWeights._put, 0

    def failing(self: EditedWeights, layer: int, master: torch.Tensor) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt
        put(self, layer, master)

    monkeypatch.setattr(EditedWeights, "_put", failing)
    assert_untouched(session, place, session.undo, KeyboardInterrupt)


def test_requests_that_make_no_sense_are_refused(place: Path, tmp_path: Path) -> None:
    session = new_session(place)
    for refused, words in (
        (session.undo, "no edit to undo"),
        (session.redo, "no undone edit"),
        (lambda: session.restore(1), "no state 1; give 0 to 0"),
        (lambda: session.restore(-1), "no state -1"),
    ):
        with pytest.raises(SessionError, match=words):
            refused()
    for size in (0, -1, 1.5, None):
        with pytest.raises(InputError, match="batch size"):
            session.edit(A, batch_size=size)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="empty"):
        session.edit([])
    with pytest.raises(InputError, match="targets"):
        session.edit([A[0], CORRECTED])
    with pytest.raises(InputError, match="layers"):
        new_session(place, layers=(1, 3))
    with pytest.raises(InputError, match="editor"):
        EditSession(tiny_model(), "nobody", small(place))
    with pytest.raises(InputError, match="no saved session"):
        EditSession.load(tmp_path / "nowhere", tiny_model())
    assert len(session.history) == 0


def test_a_threshold_that_keeps_nothing_is_refused_before_any_work(place: Path) -> None:
    session = new_session(place, threshold="rank:0")
    before = weights(session.model)
    with pytest.raises(SessionError, match=r"layer 0: no direction.*raise it"):
        session.edit(A, monitor=quiet())
    assert same(weights(session.model), before)


def test_a_threshold_that_keeps_everything_is_said(
    place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    session = new_session(place, threshold="rank:48")
    session.edit(A, monitor=quiet())
    assert "nothing is protected" in caplog.text


def test_a_solve_that_rounding_leaves_without_a_factor_is_refused_in_words() -> None:
    """As that of facts with one key, where ridge is lost beside it."""
    system = torch.ones(2, 2, dtype=torch.float64)
    with pytest.raises(SessionError, match="raise ridge or covariance_weight"):
        closed_form._factor(system, -1e-9)
