"""Editing operations on the rows of the facts table, independent of any widget.

The drafts themselves are the shared state's. What belongs to a table of them is here: a key for
each row, by which a request of the page finds it however rows have moved since, and what was
deleted last.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import count
from typing import Any, NamedTuple

from alphaedit_core.data.joining import bare
from alphaedit_core.errors import InputError
from alphaedit_core.integers import as_integer
from alphaedit_widgets.fact_drafts import Draft
from alphaedit_widgets.state import State

from .true_targets import open_prompt

#: Fields typed into a row.
FIELDS = ("subject", "prompt", "target", "target_true", "group")
#: Further fields that can be set from Python.
_MORE = ("paraphrases", "neighbors", "relation", "replaces")


class FillResult(NamedTuple):
    """Result of filling in missing true targets.

    Attributes:
        filled: have one now.
        already: stay without: the model says their new target already.
        silent: stay without: the model says no word.
    """

    filled: int = 0
    already: int = 0
    silent: int = 0

    def message(self) -> str:
        """Return the message for the user."""
        parts = [f"true targets filled: {self.filled}"]
        if self.already:
            parts.append(f"already the new target: {self.already}")
        if self.silent:
            parts.append(f"no answer: {self.silent}")
        return "; ".join(parts)


class FactRows:
    """Changes of the rows; each notifies all panels at once, together with the selection.

    Args:
        state: the state whose drafts they are.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self._next = count()
        self._keys = [next(self._next)]
        self._removed: list[tuple[int, Draft]] = []
        self._changing = threading.RLock()

    def __len__(self) -> int:
        return len(self._state.drafts)

    @property
    def removed(self) -> int:
        """Number of rows that :meth:`bring_back` would restore."""
        return len(self._removed)

    def keys(self, drafts: Sequence[Draft]) -> list[int]:
        """Return a key for each of the state's rows and one for the empty row."""
        if len(self._keys) != len(drafts) + 1:  # the drafts were set from elsewhere
            self._keys = [next(self._next) for _ in range(len(drafts) + 1)]
        return self._keys

    def index(self, key: object) -> int:
        """Return the present index of a key's row; ``len()`` for the empty row.

        Raises:
            InputError: if it is gone.
        """
        if key not in self._keys:
            raise InputError("this row no longer exists; nothing was changed")
        return self._keys.index(key)

    def require(self, index: int) -> None:
        """Check that a row has this index.

        Raises:
            InputError: if none has it.
        """
        number = as_integer(index)
        if number is None or not 0 <= number < len(self):
            remedy = f"give 0 to {len(self) - 1}" if len(self) else "the table is empty"
            raise InputError(f"no row has the index {index}; {remedy}")

    def change(self, index: int, **fields: Any) -> None:
        """Set fields of a row.

        Raises:
            InputError: if there is no such row or field.
        """
        for name in fields:
            if name not in (*FIELDS, *_MORE):
                raise InputError(f"a row has no {name}; give some of {', '.join(FIELDS + _MORE)}")
        for name in {"paraphrases", "neighbors"} & set(fields):
            fields[name] = tuple(fields[name])
        with self._changing:
            self.require(index)
            drafts = list(self._state.drafts)
            drafts[index] = drafts[index].with_fields(**fields)
            self._set(drafts, self._keys)

    def type(self, key: object, field: str, value: str) -> None:
        """Set one field of a key's row; setting a field of the empty row adds a row.

        Raises:
            InputError: if the row is gone, or has no such field.
        """
        with self._changing:
            index = self.index(key)
            drafts, keys = list(self._state.drafts), list(self._keys)
            if field not in FIELDS:
                raise InputError(f"a row has no {field}; give some of {', '.join(FIELDS)}")
            if index == len(drafts):
                drafts.append(Draft())
                keys.append(next(self._next))
            drafts[index] = drafts[index].with_fields(**{field: value})
            # A last row whose fields were all cleared becomes the empty row again.
            while drafts and drafts[-1] == Draft():
                drafts.pop()
            self._set(drafts, keys[: len(drafts) + 1])

    def extend(self, new: Sequence[Draft]) -> int:
        """Append rows, dropping ids already in use; return the index of the first."""
        with self._changing:
            drafts, keys = list(self._state.drafts), list(self._keys)
            start, used_ids = len(drafts), {draft.id for draft in drafts}
            for draft in new:
                drafts.append(replace(draft, id="") if draft.id in used_ids else draft)
                used_ids.add(draft.id)
                keys.insert(len(drafts) - 1, next(self._next))
            self._set(drafts, keys)
        return start

    def duplicate(self, index: int) -> None:
        """Insert a copy below a row and select the copy.

        Raises:
            InputError: if there is no such row.
        """
        with self._changing:
            self.require(index)
            drafts, keys = list(self._state.drafts), list(self._keys)
            drafts.insert(index + 1, replace(drafts[index], id=""))
            keys.insert(index + 1, next(self._next))
            self._set(drafts, keys, index + 1)

    def delete(self, index: int) -> None:
        """Delete a row; the selection stays with its row.

        Raises:
            InputError: if there is no such row.
        """
        with self._changing:
            self.require(index)
            drafts, keys = list(self._state.drafts), list(self._keys)
            self._removed = [(index, drafts.pop(index))]
            del keys[index]
            selected = self._state.selected
            self._set(drafts, keys, selected - (index < selected))

    def clear(self) -> int:
        """Delete all rows; return how many there were."""
        with self._changing:
            removed = len(self)
            if removed:
                self._removed = list(enumerate(self._state.drafts))
                self._set([], self._keys[-1:], -1)
        return removed

    def bring_back(self) -> int:
        """Restore the rows that were deleted last; return how many."""
        with self._changing:
            removed, self._removed = self._removed, []
            drafts, keys = list(self._state.drafts), list(self._keys)
            for index, draft in removed:
                position = min(index, len(drafts))
                drafts.insert(position, draft)
                keys.insert(position, next(self._next))
            if len(removed) == 1:
                self._set(drafts, keys, removed[0][0])
            elif removed:
                self._set(drafts, keys, max(self._state.selected, 0))
        return len(removed)

    def fill(self, answers: Mapping[str, str]) -> FillResult:
        """Fill in true targets by prompt; the rows may have changed since the model ran."""
        filled = already = silent = 0
        with self._changing:
            drafts = list(self._state.drafts)
            for index, draft in enumerate(drafts):
                answer = answers.get(open_prompt(draft) or "")
                if answer is None:
                    continue
                if not answer:
                    silent += 1
                elif answer.casefold() == bare(draft.target.strip()).casefold():
                    already += 1
                else:
                    drafts[index] = replace(draft, target_true=answer)
                    filled += 1
            self._state.drafts = tuple(drafts)
        return FillResult(filled, already, silent)

    def _set(self, drafts: Sequence[Draft], keys: list[int], selected: int | None = None) -> None:
        """Set rows and selection together, with one notification to all panels.

        Args:
            drafts: the rows.
            keys: theirs, and one for the empty row.
            selected: None for as it is, or the first row if there was none.
        """
        state = self._state
        if selected is None:
            selected = state.selected if state.drafts else 0
        self._keys = keys
        with state.hold_trait_notifications():
            state.drafts = tuple(drafts)
            state.selected = min(selected, len(drafts) - 1)
