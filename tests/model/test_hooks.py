"""Hooks act in their own thread only; hooks and the lock are always released."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from examples import FACTS, quiet, requests_of, small
from tiny import prose, tiny_model
from torch import Tensor, nn

from alphaedit_core.covariance.collect import collect_statistics
from alphaedit_core.editing.subject_keys import SubjectStates
from alphaedit_core.errors import StructureError
from alphaedit_core.model.batch_planning import BatchPlan
from alphaedit_core.model.editable_model import EditableModel
from alphaedit_core.model.forward import ending_before, record, run_model, tap
from alphaedit_core.model.hooks import own_hooks
from alphaedit_core.session.session import EditSession

IDS = torch.arange(3, 12)[None]


class Asking:
    """Calls the transformers model like a notebook cell while a worker is busy."""

    def __init__(self, model: EditableModel) -> None:
        self.model, self.calls = model, 0
        self.wrong: list[Any] = []

    def ask(self) -> Tensor:
        with torch.no_grad():
            return self.model.model(input_ids=IDS).logits

    @contextmanager
    def all_the_time(self, expected: Tensor | None) -> Iterator[None]:
        done = threading.Event()

        def loop() -> None:
            try:
                while not done.is_set():
                    found = self.ask()
                    self.calls += 1
                    if expected is not None and not torch.equal(found, expected):
                        self.wrong.append(found)
            except BaseException as error:
                self.wrong.append(error)

        thread = threading.Thread(target=loop)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


def test_a_raw_call_does_not_disturb_the_statistics(tmp_path: Path) -> None:
    model = tiny_model("llama")
    text = tmp_path / "text.txt"
    text.write_text(prose(1500), encoding="utf-8")

    def moments() -> list[Tensor]:
        found = collect_statistics(model, text, [0, 1, 2], 2048, cache=False, monitor=quiet())
        return [found.layers[layer].moment for layer in (0, 1, 2)]

    alone = moments()
    asking = Asking(model)
    with asking.all_the_time(asking.ask()):
        for _ in range(2):
            for moment, same in zip(moments(), alone, strict=True):
                assert torch.equal(moment, same)
    assert asking.calls > 10 and not asking.wrong


@pytest.mark.parametrize("editor", ["pmet", "ft"])
def test_a_raw_call_does_not_disturb_an_edit(tmp_path: Path, cache: Path, editor: str) -> None:
    def edited(disturbed: bool) -> str:
        model = tiny_model("llama")
        layers = (0,) if editor == "ft" else (0, 1)
        hp = small(tmp_path, editor=editor, layers=layers, previous_keys=False)
        session = EditSession(model, hyperparameters=hp)
        asking = Asking(model)
        if disturbed:
            with asking.all_the_time(None):  # no fixed result, since the weights change
                session.edit(FACTS, monitor=quiet())
            assert asking.calls > 3 and not asking.wrong
        else:
            session.edit(FACTS, monitor=quiet())
        return session.weights_digest()

    assert edited(disturbed=True) == edited(disturbed=False)


def hooks_of(model: nn.Module) -> int:
    return sum(
        len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._forward_pre_hooks_with_kwargs)
        for m in model.modules()
    )


@pytest.mark.parametrize("which", ["register_forward_hook", "register_forward_pre_hook"])
def test_an_interrupt_after_the_registration_leaves_no_hook(
    which: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model("llama")
    register = getattr(nn.Module, which)

    def interrupted(self: nn.Module, *args: Any, **kwargs: Any) -> None:
        register(self, *args, **kwargs)
        raise KeyboardInterrupt

    monkeypatch.setattr(nn.Module, which, interrupted)
    down = model.architecture.down_projections[0]
    with pytest.raises(KeyboardInterrupt):
        if which == "register_forward_hook":
            with ending_before(model, 2):
                pass
        else:
            with tap(down, lambda _: None):
                pass
    with pytest.raises(KeyboardInterrupt):
        record(model, IDS, 0, 2)
    assert hooks_of(model.model) == 0


def test_an_interrupt_after_the_lock_releases_it() -> None:
    model = tiny_model("llama")

    class Interrupted:
        def __init__(self) -> None:
            self.lock = threading.RLock()
            self.interrupting = True

        def acquire(self, *args: Any, **kwargs: Any) -> bool:
            self.lock.acquire(*args, **kwargs)
            if self.interrupting:
                raise KeyboardInterrupt
            return True

        def __getattr__(self, name: str) -> Any:
            return getattr(self.lock, name)

    model.ownership.lock = lock = Interrupted()  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt), model.exclusive():
        pass
    assert not lock.lock._is_owned()  # type: ignore[attr-defined]
    lock.interrupting = False
    with model.exclusive():
        lock.interrupting = True
        with model.exclusive():  # a nested call acquires nothing
            assert lock.lock._is_owned()  # type: ignore[attr-defined]
        assert lock.lock._is_owned()  # type: ignore[attr-defined]
    assert not lock.lock._is_owned()  # type: ignore[attr-defined]


def test_hooks_of_two_threads_on_one_module() -> None:
    model = tiny_model("llama")
    seen: dict[str, int] = {"here": 0, "there": 0}

    def there() -> None:
        with own_hooks() as hooks:
            hooks.before(
                model.architecture.blocks[1], lambda *_: seen.update(there=seen["there"] + 1)
            )
            run_model(model, IDS)

    with own_hooks() as hooks:
        hooks.before(model.architecture.blocks[1], lambda *_: seen.update(here=seen["here"] + 1))
        thread = threading.Thread(target=there)
        thread.start()
        thread.join()
        assert seen == {"here": 0, "there": 1}
        run_model(model, IDS)
    assert seen == {"here": 1, "there": 1}


class TestCounts:
    """The tokens that pass a module are counted; another number is refused."""

    @pytest.mark.parametrize("times", [0, 2])
    def test_a_tap(self, times: int) -> None:
        model = tiny_model("llama")
        down = model.architecture.down_projections[0]
        with (
            pytest.raises(StructureError, match="tokens went through a Linear in a pass of 9"),
            tap(down, lambda _: None, IDS.numel()),
        ):
            for _ in range(times):
                run_model(model, IDS)

    def test_a_block_that_runs_twice(self) -> None:
        model = tiny_model("llama")
        layers = model.model.model.layers
        layers[1] = layers[0]  # one block at two positions
        with pytest.raises(StructureError, match="did not run once each"):
            record(model, IDS, 0, 3)

    def test_the_down_projection_that_runs_twice(self) -> None:
        model = tiny_model("llama")
        requests = requests_of(model)
        states = SubjectStates(model, requests, [1], BatchPlan(64), quiet())
        mlp = model.architecture.blocks[1].mlp  # type: ignore[union-attr]
        once = mlp.forward  # type: ignore[union-attr]
        mlp.forward = lambda hidden: once(hidden) + once(hidden)  # type: ignore[union-attr]
        with pytest.raises(StructureError, match="went through a Linear"):
            states.read(1)
        with pytest.raises(StructureError, match="ran 2 times"):
            states.end()
