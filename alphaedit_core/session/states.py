"""The states of a session: the weights after each number of edits, and switching between them.

One function computes weights from the originals and all updates in order. Undo, redo, restore and
load therefore reproduce the previous weights exactly.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from alphaedit_core.data.text_fields import checked_text
from alphaedit_core.editing.edited_weights import EditedWeights
from alphaedit_core.errors import SessionError
from alphaedit_core.integers import as_integer
from alphaedit_core.model.editable_model import EditableModel
from alphaedit_core.model.fingerprints import changed_by_hand
from alphaedit_core.model.identity import identity

from .edit_runner import _changes
from .edits import Edit, StoredBatch
from .history import History
from .watchers import Watcher, Watchers


class SessionStates:
    """A model and its edits, of which the first ``applied`` are in the weights.

    Args:
        model: the model, with its original weights.
        layers: indices of the blocks whose weights are edited.

    Raises:
        SessionError: if the model holds edits of another session.
    """

    def __init__(self, model: EditableModel, layers: Sequence[int]) -> None:
        self._applied: int = 0
        self._entries: list[Edit] = []
        self._is_lent = False
        self._watchers = Watchers()
        self.model = model
        with model.exclusive():  # the previous owner may be working in another thread
            last = self._take(model, layers)
        if last is not None and last is not self:
            last._watchers.tell("closed")

    @property
    def applied(self) -> int:
        """Number of edits in the model's weights."""
        return self._applied

    @property
    def history(self) -> History:
        """All edits, including undone ones that can be redone, and the number of applied ones."""
        return History(self._entries, self._applied)

    @property
    def closed(self) -> bool:
        """Whether the session has released its model; see :meth:`close`."""
        return self.model.owner is not self and not self._is_lent

    @contextmanager
    def at_state(self, number: int) -> Iterator[None]:
        """Give the model the weights after a number of edits, within a ``with`` block.

        The weights are restored exactly afterwards. Only sums of matrices (and PRUNE's singular
        values) are computed.

        Args:
            number: number of edits; 0 is the unedited model.

        Raises:
            SessionError: if there are fewer edits, or another thread uses the model.
        """
        with self._in_use():
            self._require_held()
            number = self._require_state(number)
            before = self._shown
            if number == before:
                yield
                return
            try:
                self._make_weights(number)
                yield
            finally:
                # Ctrl-C can interrupt this as well, so it is retried once. FactBatch out inline
                # because a helper function could be interrupted on entry.
                try:
                    self._make_weights(before)
                except BaseException:
                    self._make_weights(before)
                    raise

    def weights_digest(self) -> str:
        """Return a digest of the current weights of the edited layers.

        Raises:
            SessionError: if another thread uses the model.
        """
        with self._in_use():
            return self._weights.digest()

    def relative_weight_change(self) -> dict[int, float]:
        """Return ``|W - W0| / |W0|``, Frobenius norms, by edited layer.

        Raises:
            SessionError: if the session is closed, or another thread uses the model.
        """
        with self._in_use():
            self._require_held()
            return {layer: self._weights.relative_change(layer) for layer in self._weights.layers}

    def undo(self) -> None:
        """Undo the last applied edit; the previous weights are restored bit for bit.

        Raises:
            SessionError: if no edit is applied.
        """
        if self._applied == 0:
            raise SessionError("there is no edit to undo")
        self.restore(self._applied - 1)

    def redo(self) -> None:
        """Apply the edit that was undone last.

        Raises:
            SessionError: if no edit is undone.
        """
        if self._applied == len(self._entries):
            raise SessionError("there is no undone edit to redo")
        self.restore(self._applied + 1)

    def restore(self, number: int) -> None:
        """Restore the state after a number of edits. Later edits can be redone.

        Args:
            number: number of edits to apply; 0 is the unedited model.

        Raises:
            SessionError: if there are fewer edits.
        """
        self._go_to(number)
        self._watchers.tell("history")

    def reset(self) -> None:
        """Restore the unedited weights and discard all edits."""
        self._go_to(0)
        self._entries = []
        self._watchers.tell("history")

    def rename(self, number: int, title: str) -> None:
        """Set the title of an edit.

        Args:
            number: number of the edit, from 1.
            title: the title; "" removes it.

        Raises:
            SessionError: if there is no such edit.
            InputError: if the title cannot be written to a file.
        """
        number = self._require_state(number)
        if number == 0:
            raise SessionError("state 0 is the unedited model; give the number of an edit")
        if title.strip():
            title = checked_text("title", title)
        renamed = dataclasses.replace(self._entries[number - 1], title=" ".join(title.split()))
        self._entries[number - 1] = renamed
        self._watchers.tell("history")

    @contextmanager
    def lend_model(self) -> Iterator[EditableModel]:
        """Lend the unedited model to other sessions, within a ``with`` block.

        The other sessions must be closed before the block ends. The weights of this session are
        restored exactly afterwards.

        Raises:
            SessionError: if another thread uses the model.
        """

        def take_back() -> None:
            self.model.owner, self._is_lent = self, False

        with self.at_state(0):
            try:
                self.model.owner, self._is_lent = None, True
                yield self.model
            finally:
                try:
                    take_back()
                except BaseException:
                    take_back()
                    raise

    def close(self) -> None:
        """Restore the unedited weights and release the model. The session can still be saved."""
        with self.model.exclusive():
            held = self.model.owner is self
            if held:
                self._weights.restore()
                self.model.owner = None
        if held:
            self._watchers.tell("closed")

    def watch(self, watcher: Watcher) -> None:
        """Call a method after each change of this session.

        The method is called in the thread of the change, with ``history`` (an edit was written,
        undone, redone, renamed or discarded), ``hyperparameters``, ``spectra`` (computed) or
        ``closed``. Exceptions are logged, not raised.

        Args:
            watcher: a bound method. It is held weakly and dropped with its object.
        """
        self._watchers.add(watcher)

    def check_weights(self) -> None:
        """Check that the weights were not changed outside the session, which edits would lose.

        Raises:
            SessionError: if they were, naming the weights.
        """
        name, layers = self.model.architecture.weight_name, self._weights.layers
        with self._in_use():
            overwritten = self._weights.overwritten
            if overwritten:
                raise changed_by_hand([name(layer) for layer in overwritten])
            self.model.check_weights([name(layer) for layer in layers], wholly=False)

    def _take(self, model: EditableModel, layers: Sequence[int]) -> SessionStates | None:
        """Become the owner of an unedited model; returns the previous owner."""
        owner = model.owner
        if isinstance(owner, SessionStates) and owner._applied:
            raise SessionError(
                f"the model holds {owner._applied} edits of another session; close() that first"
            )
        model.take_weights()
        self._identity = identity(model)
        #: The state whose weights are in the model; None while they are being changed.
        self._shown: int | None = 0
        self._weights = EditedWeights(model, layers)
        model.owner = self
        return owner if isinstance(owner, SessionStates) else None

    @contextmanager
    def _in_use(self) -> Iterator[None]:
        """Hold the model. The outermost hold repairs the weights of the applied edits.

        They are wrong only if an interrupt came while they were being restored.
        """
        outermost = not self.model.lock._is_owned()  # type: ignore[attr-defined]
        with self.model.exclusive():
            if outermost and self._shown != self._applied and self.model.owner is self:
                self._make()
            yield

    def _require_held(self) -> None:
        if self.model.owner is not self:
            raise SessionError("this session is closed; load or make a new one")

    def _require_state(self, number: int) -> int:
        state = as_integer(number)
        if state is None or not 0 <= state <= len(self._entries):
            raise SessionError(f"there is no state {number}; give 0 to {len(self._entries)}")
        return state

    def _batches(self, number: int) -> list[StoredBatch]:
        """All batches of the first ``number`` edits."""
        return [batch for entry in self._entries[:number] for batch in entry.batches]

    def _go_to(self, number: int) -> None:
        def go_back() -> None:
            self._applied = before
            self._make()

        with self._in_use():
            self._require_held()
            number, before = self._require_state(number), self._applied
            try:
                self._applied = number
                self._make()
            except BaseException:
                try:
                    go_back()
                except BaseException:
                    go_back()
                    raise
                raise

    def _make(self) -> None:
        """Recompute the weights of the applied edits; keys are recomputed when needed."""
        self._make_weights(self._applied)
        self._forget_keys()

    def _make_weights(self, number: int | None) -> None:
        """Compute the weights after ``number`` edits; None, an unfinished state, for all."""
        self._shown = None
        self._weights.make(_changes(self._batches(self._applied if number is None else number)))
        self._shown = number

    def _forget_keys(self) -> None:
        """Drop everything derived from the keys of the applied edits; it is recomputed later."""
