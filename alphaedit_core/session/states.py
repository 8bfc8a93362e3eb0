"""The states of a session: the weights after so many edits, and the way from one to another.

Weights are always made from the originals and all changes in order by one function, so undo, redo,
restore and load all give exactly the weights that were there before.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from alphaedit_core.data.text_fields import checked_text
from alphaedit_core.editing.edited_weights import EditedWeights
from alphaedit_core.errors import (
    SessionError,
)
from alphaedit_core.integers import as_integer
from alphaedit_core.model.editable_model import EditableModel
from alphaedit_core.model.fingerprints import changed_by_hand
from alphaedit_core.model.identity import identity

from .edit_runner import _changes
from .edits import Edit, StoredBatch
from .history import History
from .watchers import Watcher, Watchers


class SessionStates:
    """A model and the edits made in it, of which any number may be applied.

    Args:
        model: the model, with its original weights.
        layers: the blocks whose weights are edited.

    Raises:
        SessionError: if another session has edits in this model.
    """

    def __init__(self, model: EditableModel, layers: Sequence[int]) -> None:
        self._applied: int = 0
        self._entries: list[Edit] = []
        self._lent = False
        self._watchers = Watchers()
        self.model = model
        with model.exclusive():  # another session may be at work in the model that it was lent
            last = self._take(model, layers)
        if last is not None and last is not self:
            last._watchers.tell("closed")

    @property
    def applied(self) -> int:
        """Number of edits that are in the model now."""
        return self._applied

    @property
    def history(self) -> History:
        """All edits, also undone ones that can be redone, and where the model stands among them."""
        return History(self._entries, self._applied)

    @property
    def closed(self) -> bool:
        """Whether it has let go of its model for good; see :meth:`close`."""
        return self.model.owner is not self and not self._lent

    @contextmanager
    def at_state(self, number: int) -> Iterator[None]:
        """While this is open, the model has the weights after so many edits; 0 is the unedited one.

        Nothing is computed anew but sums of matrices (and PRUNE's singular values), and afterwards
        everything is as before.

        Raises:
            SessionError: if there are not so many edits, or another thread uses the model.
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
                # Ctrl-C may come here, too; then once more from the beginning. Written out, since a
                # function for it could be interrupted where it begins.
                try:
                    self._make_weights(before)
                except BaseException:
                    self._make_weights(before)
                    raise

    def weights_digest(self) -> str:
        """Digest of the edited layers' weights as they are in the model now.

        Raises:
            SessionError: if another thread uses the model.
        """
        with self._in_use():
            return self._weights.digest()

    def relative_weight_change(self) -> dict[int, float]:
        """How far each edited matrix is from the original: ``|W - W0| / |W0|`` (Frobenius)."""
        with self._in_use():
            self._require_held()
            return {layer: self._weights.relative_change(layer) for layer in self._weights.layers}

    def undo(self) -> None:
        """Take back the last applied edit, exactly.

        Raises:
            SessionError: if there is none.
        """
        if self._applied == 0:
            raise SessionError("there is no edit to undo")
        self.restore(self._applied - 1)

    def redo(self) -> None:
        """Apply again the edit that was undone last.

        Raises:
            SessionError: if there is none.
        """
        if self._applied == len(self._entries):
            raise SessionError("there is no undone edit to redo")
        self.restore(self._applied + 1)

    def restore(self, number: int) -> None:
        """Go to the state after so many edits; 0 is the unedited model. Later edits can be redone.

        Raises:
            SessionError: if there are not so many.
        """
        self._go_to(number)
        self._watchers.tell("history")

    def reset(self) -> None:
        """Put the unedited weights back and forget all edits."""
        self._go_to(0)
        self._entries = []
        self._watchers.tell("history")

    def rename(self, number: int, title: str) -> None:
        """Give an edit a name; "" takes it away.

        Raises:
            SessionError: if there is no such edit.
            InputError: if the name cannot be written to a file.
        """
        number = self._require_state(number)
        if number == 0:
            raise SessionError("state 0 is the unedited model; give the number of an edit")
        if title.strip():
            title = checked_text("title", title)
        named = dataclasses.replace(self._entries[number - 1], title=" ".join(title.split()))
        self._entries[number - 1] = named
        self._watchers.tell("history")

    @contextmanager
    def lend_model(self) -> Iterator[EditableModel]:
        """While this is open, other sessions may edit the model, which is unedited to begin with.

        They have to be closed before this ends; then everything is as before.

        Raises:
            SessionError: if another thread uses the model.
        """

        def take_back() -> None:
            self.model.owner, self._lent = self, False

        with self.at_state(0):
            try:
                self.model.owner, self._lent = None, True
                yield self.model
            finally:
                try:
                    take_back()
                except BaseException:
                    take_back()
                    raise

    def close(self) -> None:
        """Put the unedited weights back and let go of the model; the session can still be saved."""
        with self.model.exclusive():
            held = self.model.owner is self
            if held:
                self._weights.restore()
                self.model.owner = None
        if held:
            self._watchers.tell("closed")

    def watch(self, watcher: Watcher) -> None:
        """Have a method called after each change that this session makes or goes through.

        It is given ``history`` (an edit was written, taken back, applied again, renamed or
        forgotten), ``hyperparameters``, ``spectra`` (they have been made) or ``closed``, in the
        thread that made the change. What it raises is logged and ends nothing.

        Args:
            watcher: a bound method; it is held weakly, and so is forgotten with its object.
        """
        self._watchers.add(watcher)

    def check_weights(self) -> None:
        """Refuse weights that somebody else has changed; an edit would lose or mistake them.

        Raises:
            SessionError: naming them.
        """
        name, layers = self.model.architecture.weight_name, self._weights.layers
        with self._in_use():
            overwritten = self._weights.overwritten
            if overwritten:
                raise changed_by_hand([name(layer) for layer in overwritten])
            self.model.check_weights([name(layer) for layer in layers], wholly=False)

    def _take(self, model: EditableModel, layers: Sequence[int]) -> SessionStates | None:
        """Become the session of a model with the original weights; returns the one before."""
        holder = model.owner
        if isinstance(holder, SessionStates) and holder._applied:
            raise SessionError(
                f"the model holds {holder._applied} edits of another session; close() that first"
            )
        model.take_weights()
        self._identity = identity(model)
        #: The state whose weights the model has; None in the midst of making them.
        self._shown: int | None = 0
        self._weights = EditedWeights(model, layers)
        model.owner = self
        return holder if isinstance(holder, SessionStates) else None

    @contextmanager
    def _in_use(self) -> Iterator[None]:
        """Hold the model, with the weights of the applied edits where this is the outermost hold.

        They are there already, but behind interrupts that came while they were put back.
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
        found = as_integer(number)
        if found is None or not 0 <= found <= len(self._entries):
            raise SessionError(f"there is no state {number}; give 0 to {len(self._entries)}")
        return found

    def _batches(self, number: int) -> list[StoredBatch]:
        """All batches of the first so many edits."""
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
        """Make weights anew from the applied edits; the keys follow when they are needed."""
        self._make_weights(self._applied)
        self._forget_keys()

    def _make_weights(self, number: int | None) -> None:
        """Make the weights after so many edits; None, in the midst of which it is, for all."""
        self._shown = None
        self._weights.make(_changes(self._batches(self._applied if number is None else number)))
        self._shown = number

    def _forget_keys(self) -> None:
        """Other edits are applied now: what follows them is read anew when it is needed."""
