"""EditSession: edit a model, see what that did, take it back bit for bit.

A session holds the original matrices and, for every edit, the thin pairs that were added. Weights
are always made from both by one function, so undo, redo, restore and load all give exactly the
weights that were there before.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from alphaedit_core.covariance.collect import collect_statistics
from alphaedit_core.data.facts import Fact, check_facts, checked_text
from alphaedit_core.data.superseding import named
from alphaedit_core.editing.batch import BatchWrite, Space, write_batch
from alphaedit_core.editing.context_prefixes import _own_contexts
from alphaedit_core.editing.defaults import checked_editor, default_hyperparameters
from alphaedit_core.editing.edited_weights import EditedWeights
from alphaedit_core.editing.hyperparameters import HyperParameters
from alphaedit_core.editing.previous_keys import KeyMemory
from alphaedit_core.editing.target_search import Targets
from alphaedit_core.editing.update_sketches import PAIRS, apart
from alphaedit_core.errors import (
    CorruptFileError,
    InputError,
    SessionError,
)
from alphaedit_core.inference.completions import TOKENS
from alphaedit_core.integers import as_integer
from alphaedit_core.model.batch_planning import BatchPlan, plan_batches
from alphaedit_core.model.identity import identity, precision
from alphaedit_core.model.loading import EditableModel, changed_by_hand
from alphaedit_core.model.tokenization import Request, check_lengths, prepare
from alphaedit_core.nullspace.eigendecomposition import spectra
from alphaedit_core.nullspace.spectrum import Spectrum
from alphaedit_core.nullspace.thresholds import Threshold
from alphaedit_core.progress import Monitor

from . import files as ledger
from .edit_runner import _any_pruned, _changes, _kept, _space
from .environment import surroundings
from .files import Batch, Entry
from .history import History
from .model_check import _check_fingerprint, _compare, _named_model
from .outcomes import _check_finite, _result, observe
from .results import EditResult
from .schema import check_fits

log = logging.getLogger(__name__)

#: Furthest that rounding may bring weights from those saved: as a share of the change of a weight,
#: and as a share of the weight, to which the change is added in float32.
_ROUNDING, _WEIGHT_ROUNDING = 1e-3, 1e-6

#: What is told of a change of a session; see :meth:`EditSession.watch`.
Watcher = Callable[[str], None]


class EditSession:
    """Edits of one model, in order, each of which can be taken back.

    **The model's weights are changed in place** by :meth:`edit`; :meth:`undo`, :meth:`restore`,
    :meth:`reset` and :meth:`close` put them back. One model has one session at a time.

    Args:
        model: the model, unedited.
        editor: name of the editor; None for AlphaEdit, or what the hyperparameters name.
        hyperparameters: None for the editor's in this model; see :func:`default_hyperparameters`.
        contexts: texts to put before prompts; None to sample the model's own.
        targets: where target values are kept for other sessions, and taken from: two editors that
            search alike for the same facts in the same weights then search once. None for neither.

    Attributes:
        model: the model.
        last_result: the result of the last edit that is applied, or None.

    Raises:
        SessionError: if another session has edits in this model.
        InputError: if the editor or a layer does not exist, or the hyperparameters are another
            editor's.
    """

    def __init__(
        self,
        model: EditableModel,
        editor: str | None = None,
        hyperparameters: HyperParameters | None = None,
        contexts: Sequence[str] | None = None,
        targets: dict[str, Targets] | None = None,
    ) -> None:
        if hyperparameters is None:
            hyperparameters = default_hyperparameters(model, editor or "alphaedit")
        elif editor not in (None, hyperparameters.editor):
            raise InputError(
                f'editor "{editor}" is not the hyperparameters\' own, "{hyperparameters.editor}"; '
                "give one of the two, or default_hyperparameters(model, editor)"
            )
        self._hyperparameters = hyperparameters
        self._editor = checked_editor(model, hyperparameters)
        self._applied: int = 0
        self.model = model
        with model.in_use():  # another session may be at work in the model that it was lent
            last = self._take(model)
        self._entries: list[Entry] = []
        self._stored = ledger.Stored()
        self._contexts = None if contexts is None else tuple(contexts)
        self._targets = targets
        self._spectra: dict[int, Spectrum] | None = None
        self._statistics: dict[str, Any] | None = None
        self._spaces: dict[int, Space] | None = None
        self._memory: KeyMemory | None = None
        self._lent = False
        self._watchers: list[weakref.WeakMethod[Watcher]] = []
        if last is not None and last is not self:
            last._tell("closed")

    def _take(self, model: EditableModel) -> EditSession | None:
        """Become the session of a model with the original weights; returns the one before."""
        holder = model.holder
        if isinstance(holder, EditSession) and holder._applied:
            raise SessionError(
                f"the model holds {holder._applied} edits of another session; close() that first"
            )
        model.take_weights()
        self._identity = identity(model)
        #: The state whose weights the model has; None in the midst of making them.
        self._shown: int | None = 0
        self._weights = EditedWeights(model, self.hyperparameters.layers)
        model.holder = self
        return holder if isinstance(holder, EditSession) else None

    # -- looking ---------------------------------------------------------------------------------

    @property
    def hyperparameters(self) -> HyperParameters:
        """The numbers that the next edit uses; each edit keeps those it was made with.

        Raises:
            InputError: if a layer or editor that is set does not exist, or a switch means nothing
                for the editor.
            SessionError: if other layers are set while the session has edits.
        """
        return self._hyperparameters

    @hyperparameters.setter
    def hyperparameters(self, new: HyperParameters) -> None:
        old = self._hyperparameters
        editor = checked_editor(self.model, new)
        with self.model.in_use():
            self._require_held()
            if new.layers != old.layers:
                if self._entries:
                    raise SessionError(
                        f"layers cannot change from {list(old.layers)} to {list(new.layers)} while "
                        "the session has edits; reset() it first"
                    )
                self._weights = EditedWeights(self.model, new.layers)
            if (new.layers, new.text, new.tokens) != (old.layers, old.text, old.tokens):
                self._spectra = None
            if new != old:  # an editor may make its metric of any of them
                self._spaces = self._memory = None
            if (new.seed, new.context_tokens, new.contexts) != (
                old.seed,
                old.context_tokens,
                old.contexts,
            ):
                self._contexts = None
            self._hyperparameters, self._editor = new, editor
        if new != old:
            self._tell("hyperparameters")

    @property
    def applied(self) -> int:
        """Number of edits that are in the model now."""
        return self._applied

    @property
    def editor(self) -> str:
        """Name of the editor that the next edit uses."""
        return self._hyperparameters.editor

    @property
    def methods(self) -> str:
        """Methods of the applied edits, each once; the next edit's where none is applied."""
        used = [entry.hyperparameters.method for entry in self._entries[: self._applied]]
        return " and ".join(dict.fromkeys(used or [self.hyperparameters.method]))

    @property
    def history(self) -> History:
        """All edits, also undone ones that can be redone, and where the model stands among them."""
        return History(self._entries, self._applied)

    @property
    def last_result(self) -> EditResult | None:
        """What the last applied edit did."""
        return self._entries[self._applied - 1].result if self._applied else None

    @property
    def timings(self) -> dict[str, float]:
        """Wall-clock seconds per stage of the last applied edit."""
        return dict(self.last_result.seconds) if self.last_result else {}

    @property
    def contexts(self) -> tuple[str, ...]:
        """The texts that stand before prompts; sampled on first use, on the unedited model."""
        if self._contexts is None:
            with self.at(0):
                self._contexts = _own_contexts(self.model, self.hyperparameters)
        return self._contexts

    @property
    def known_spectra(self) -> dict[int, Spectrum] | None:
        """The spectra if :meth:`spectra` has been called, without any work."""
        return self._spectra

    def spectra(self, monitor: Monitor | None = None) -> dict[int, Spectrum]:
        """The spectrum of every edited layer; statistics are collected if the cache has none."""
        if self._spectra is None:
            monitor = monitor or Monitor()
            hp = self.hyperparameters
            with self.at(0):
                statistics = collect_statistics(
                    self.model, hp.text, hp.layers, hp.tokens, monitor=monitor
                )
            made = {
                "recipe": statistics.recipe.key(),
                "text": statistics.recipe.text_name,
                "text_checksum": statistics.recipe.text,
                "tokens": statistics.recipe.tokens,
                "checksums": {str(layer): s.checksum for layer, s in statistics.layers.items()},
            }
            if self._statistics is not None and _without_recipe(self._statistics) != (
                _without_recipe(made)
            ):
                log.warning(
                    "the statistics of this session were other ones (%s); later edits use new ones",
                    self._statistics.get("text"),
                )
            self._statistics, self._spectra = made, spectra(statistics, monitor=monitor)
            self._tell("spectra")
        return self._spectra

    @contextmanager
    def at(self, number: int) -> Iterator[None]:
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

    def moved(self) -> dict[int, float]:
        """How far each edited matrix is from the original: ``|W - W0| / |W0|`` (Frobenius)."""
        with self._in_use():
            self._require_held()
            return {layer: self._weights.moved(layer) for layer in self._weights.layers}

    # -- editing ---------------------------------------------------------------------------------

    def edit(
        self, facts: Sequence[Fact], batch_size: int = 100, monitor: Monitor | None = None
    ) -> EditResult:
        """Write facts into the model, batch after batch, sparing all facts written before.

        Edits that were undone can no longer be redone afterwards.

        Args:
            facts: the facts.
            batch_size: facts that are written together.
            monitor: what to report to.

        Raises:
            InputError: if the facts cannot be used; nothing was done.
            SessionError: if the threshold keeps no direction or the model has another session.
            Cancelled: if cancelled. Then, as after any exception, model and session are as before.
        """
        size = as_integer(batch_size)
        if size is None or size < 1:
            raise InputError(f"batch size {batch_size!r} is not a positive number; give 1 or more")
        facts = check_facts(facts)
        with self._in_use():
            self._require_held()
            self.check_weights()
            hp = self._hyperparameters
            check_lengths(
                self.model,
                facts,
                # A context is followed by ". ".
                hp.context_tokens + 2 if hp.contexts and self._contexts is None else 0,
                behind=TOKENS,
            )
            result = self._edit(facts, size, monitor or Monitor())
        self._tell("history")
        return result

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
        self._tell("history")

    def reset(self) -> None:
        """Put the unedited weights back and forget all edits."""
        self._go_to(0)
        self._entries = []
        self._tell("history")

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
        self._tell("history")

    @contextmanager
    def lent(self) -> Iterator[EditableModel]:
        """While this is open, other sessions may edit the model, which is unedited to begin with.

        They have to be closed before this ends; then everything is as before.

        Raises:
            SessionError: if another thread uses the model.
        """

        def take_back() -> None:
            self.model.holder, self._lent = self, False

        with self.at(0):
            try:
                self.model.holder, self._lent = None, True
                yield self.model
            finally:
                try:
                    take_back()
                except BaseException:
                    take_back()
                    raise

    def close(self) -> None:
        """Put the unedited weights back and let go of the model; the session can still be saved."""
        with self.model.in_use():
            held = self.model.holder is self
            if held:
                self._weights.restore()
                self.model.holder = None
        if held:
            self._tell("closed")

    @property
    def closed(self) -> bool:
        """Whether it has let go of its model for good; see :meth:`close`."""
        return self.model.holder is not self and not self._lent

    def watch(self, watcher: Watcher) -> None:
        """Have a method called after each change that this session makes or goes through.

        It is given ``history`` (an edit was written, taken back, applied again, renamed or
        forgotten), ``hyperparameters``, ``spectra`` (they have been made) or ``closed``, in the
        thread that made the change. What it raises is logged and ends nothing.

        Args:
            watcher: a bound method; it is held weakly, and so is forgotten with its object.
        """
        self._watchers.append(weakref.WeakMethod(watcher))

    def _tell(self, change: str) -> None:
        for kept in list(self._watchers):
            watcher = kept()
            if watcher is None:
                self._watchers.remove(kept)
                continue
            try:
                watcher(change)
            except Exception:
                log.exception("a view of the session could not follow")

    # -- keeping ---------------------------------------------------------------------------------

    def manifest(self) -> dict[str, Any]:
        """What the session is besides its edits, ready for JSON; nothing is computed for it.

        Model name, fingerprint and dtype, editor, hyperparameters, contexts (None while none were
        needed), statistics (None until they were), and the versions and machine that made it.
        """
        return {
            "model": self.model.name,
            "fingerprint": self.model.fingerprint,
            "dtype": str(self.model.dtype).removeprefix("torch."),
            "identity": self._identity.to_dict(),
            "editor": self.editor,
            "hyperparameters": self.hyperparameters.to_dict(),
            "contexts": None if self._contexts is None else list(self._contexts),
            "statistics": self._statistics,
            "made_with": surroundings(self.model),
        }

    def save(self, folder: str | Path, overwrite: bool = False) -> None:
        """Write the session to a folder, all at once.

        Args:
            folder: made if it does not exist.
            overwrite: whether a session that is there may be lost, though it has edits that are
                none of this one's, or was changed by somebody else since this one was loaded or
                saved there.

        Raises:
            InputError: if the folder holds something that is not a session.
            SessionError: if it holds a session that would be lost, or is being written.
            OSError: if it cannot be written; a session that was there is still there, whole.
        """
        ledger.save_session(
            Path(folder), self.manifest(), self._entries, self._applied, self._stored, overwrite
        )

    @classmethod
    def load(
        cls,
        folder: str | Path,
        model: EditableModel | None = None,
        device: str = "auto",
        monitor: Monitor | None = None,
        fetch_model: bool = False,
    ) -> EditSession:
        """A saved session, applied to its model.

        Weights that are not bit for bit those saved, as on a machine that rounds sums otherwise,
        are kept with a warning that says how far away they are; where that is more than rounding
        the session is refused.

        Args:
            folder: where it was saved.
            model: the unedited model; None to load the one that the session names.
            device: where to load that one.
            monitor: what to report to.
            fetch_model: whether a model that the session names may be fetched from the hub.

        Raises:
            InputError: if there is no session, or its model is not on this machine and is not to
                be fetched.
            CorruptFileError: if a file of it is damaged or not what this library writes, or its
                changes are not those that its weights were made of.
            FingerprintError: if the model has other weights (names both fingerprints), or another
                tokenizer, configuration or other module paths, under which the same edit is
                another one.
            SessionError: if another session has edits in the model.
        """
        place = Path(folder)
        stored = ledger.Stored()
        manifest, entries = ledger.load_session(place, stored)
        applied = manifest["applied"]
        if model is None:
            model = _named_model(place, manifest, device, monitor, fetch_model)
        _check_fingerprint(place, manifest, model, model.fingerprint)
        _compare(place, manifest, model)
        hyperparameters = HyperParameters.from_dict(manifest["hyperparameters"])
        try:
            session = cls(model, None, hyperparameters, manifest["contexts"])
        except InputError as error:
            raise CorruptFileError(f"session {place}: {error}") from None
        try:
            # Read anew: the model's own may have been taken before a weight was changed.
            _check_fingerprint(place, manifest, model, session._identity.fingerprint)
            matrix = model.anatomy.matrix
            sizes = {n: (matrix(n).shape[0], matrix(n).shape[1]) for n in hyperparameters.layers}
            for batch in (batch for entry in entries for batch in entry.batches):
                check_fits(place, batch.changes, sizes)
            session._statistics, session._entries = manifest["statistics"], entries
            session._stored = stored
            session.restore(applied)
            if applied and session.weights_digest() != entries[applied - 1].digest:
                session._check_distance(place, manifest["made_with"])
        except BaseException:
            session.close()
            raise
        return session

    def __repr__(self) -> str:
        undone = len(self._entries) - self._applied
        return (
            f"EditSession({self.model.name!r}, {self.editor}, edits: {self._applied}"
            f"{f', {undone} undone' if undone else ''})"
        )

    # -- inside ----------------------------------------------------------------------------------

    def _edit(self, facts: Sequence[Fact], batch_size: int, monitor: Monitor) -> EditResult:
        already, start = dict(monitor.seconds), time.perf_counter()
        spaces = self._prepared(monitor)
        requests = prepare(self.model, facts, self.contexts, self.hyperparameters.layers[-1])
        with monitor.stage("before", len(facts), "fact"):
            before = observe(self.model, facts, monitor)
        plan = plan_batches(self.model)
        writes: list[BatchWrite] = []
        size = min(batch_size, self._editor.at_once or batch_size)
        parts = [requests[i : i + size] for i in range(0, len(requests), size)]
        try:
            self._shown = None  # neither one state nor the other, from here on
            if self._editor.on_unpruned:
                self._weights.make(_changes(self._batches(self._applied), pruned=False))
            for part in parts:
                written = self._write(part, spaces, plan, monitor)
                writes.append(written)
                plan = written.plan
            new = [_kept(part, written) for part, written in zip(parts, writes, strict=True)]
            everything = [*self._batches(self._applied), *new]
            if _any_pruned(everything):  # of their sum, which has grown
                self._weights.make(_changes(everything))
            with monitor.stage("after", len(facts), "fact"):
                after = observe(self.model, facts, monitor)
            _check_finite(facts, after)
            seconds = {
                name: spent - already.get(name, 0.0)
                for name, spent in monitor.seconds.items()
                if spent > already.get(name, 0.0)
            }
            # Between the stages: the facts as tokens, the projectors, PRUNE's sum.
            rest = time.perf_counter() - start - sum(seconds.values())
            seconds |= {"rest": rest} if rest > 0 else {}
            entry = Entry(
                datetime.now(UTC).isoformat(timespec="seconds"),
                new,
                dataclasses.replace(
                    _result(self.model, parts, writes, before, after, seconds),
                    superseded=named([e.batches for e in self._entries[: self._applied]], new),
                ),
                self.weights_digest(),
                self.hyperparameters,
                sketches={layer: self._weights.sketch(layer) for layer in self._weights.layers},
            )
            self._entries = [*self._entries[: self._applied], entry]
            self._applied += 1
            self._shown = self._applied
        except BaseException:
            try:
                self._make()
            except BaseException:
                self._make()
                raise
            raise
        return entry.result

    def _check_distance(self, place: Path, made_with: Mapping[str, Any]) -> None:
        """Say how far the weights are from those saved; refuse what no rounding explains."""
        kept, far = self._entries[self._applied - 1].sketches, {}
        for layer, saved in kept.items():
            here = self._weights.sketch(layer)
            change = max(apart(each, [0.0] * PAIRS) for each in (saved, here))
            away = apart(saved, here)
            far[layer] = away / change if change else 0.0
            if away > _ROUNDING * change + _WEIGHT_ROUNDING * self._weights.original_norm(layer):
                raise CorruptFileError(
                    f"session {place}: the weights made from its changes are not those that were "
                    f"saved, layer {layer} is about {min(far[layer], 10):.0%} of its change away; "
                    "a file of it was changed, take a copy"
                )
        words = (
            f"they are at most about {max(far.values()):.1g} of their change away"
            if far
            else "how far they are from them was not kept by the version that saved them"
        )
        log.warning(
            "the weights are not bit for bit those saved: %s (made with %s, here %s)",
            words,
            made_with,
            surroundings(self.model),
        )

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

    @contextmanager
    def _in_use(self) -> Iterator[None]:
        """Hold the model, with the weights of the applied edits where this is the outermost hold.

        They are there already, but behind interrupts that came while they were put back.
        """
        outermost = not self.model.lock._is_owned()  # type: ignore[attr-defined]
        with self.model.in_use():
            if outermost and self._shown != self._applied and self.model.holder is self:
                self._make()
            yield

    def _require_held(self) -> None:
        if self.model.holder is not self:
            raise SessionError("this session is closed; load or make a new one")

    def check_weights(self) -> None:
        """Refuse weights that somebody else has changed; an edit would lose or mistake them.

        Raises:
            SessionError: naming them.
        """
        name, layers = self.model.anatomy.weight_name, self._weights.layers
        with self._in_use():
            overwritten = self._weights.overwritten
            if overwritten:
                raise changed_by_hand([name(layer) for layer in overwritten])
            self.model.check_weights([name(layer) for layer in layers], wholly=False)

    def _require_state(self, number: int) -> int:
        found = as_integer(number)
        if found is None or not 0 <= found <= len(self._entries):
            raise SessionError(f"there is no state {number}; give 0 to {len(self._entries)}")
        return found

    def _prepared(self, monitor: Monitor) -> dict[int, Space]:
        """Projectors and metrics by layer, made once, and the keys of all applied facts."""
        hp = self.hyperparameters
        if self._spaces is None:
            try:
                self._spaces = self._made_spaces(monitor)
            except CorruptFileError as error:  # since the spectra were read
                log.warning("%s; made again", error)
                self._spectra = None
                self._spaces = self._made_spaces(monitor)
        if self._memory is None:
            metrics = {layer: space.metric for layer, space in self._spaces.items()}
            memory = KeyMemory(metrics, hp.previous_keys, hp.previous_keys_decay)
            for batch in self._batches(self._applied):
                memory.let_go(batch.superseded)
                memory.add(batch.facts, batch.keys)
            self._memory = memory
        return self._spaces

    def _made_spaces(self, monitor: Monitor) -> dict[int, Space]:
        hp, found = self.hyperparameters, self.spectra(monitor)
        for layer, spectrum in found.items() if hp.projection else ():
            threshold = Threshold.parse(hp.at(layer).threshold)
            if spectrum.rank(threshold) == 0:
                raise SessionError(spectrum.warning(threshold))
            if spectrum.warning(threshold):
                log.warning(spectrum.warning(threshold))
        return {
            layer: _space(self._editor, spectrum, hp.at(layer), self.model.device)
            for layer, spectrum in found.items()
        }

    def _write(
        self,
        requests: Sequence[Request],
        spaces: Mapping[int, Space],
        plan: BatchPlan,
        monitor: Monitor,
    ) -> BatchWrite:
        assert self._memory is not None
        facts = [request.fact for request in requests]
        superseded = self._memory.make_room(facts)
        key = self._search_key(facts) if self._targets is not None else ""
        written = write_batch(
            self.model,
            self._weights,
            self._editor,
            requests,
            self._memory.by_layer,
            spaces,
            self.hyperparameters,
            plan,
            monitor,
            self._targets.get(key) if self._targets is not None else None,
        )
        if self._targets is not None and written.targets is not None:
            self._targets[key] = written.targets
        self._memory.add(facts, written.keys)
        return dataclasses.replace(written, superseded=superseded)

    def _search_key(self, facts: Sequence[Fact]) -> str:
        """What target values depend on: weights, facts, contexts, and the search itself."""
        hp = self.hyperparameters.to_dict()
        names = ("steps", "learning_rate", "loss_stop", "clamp_factor", "weight_decay", "kl_factor")
        search = {name: hp[name] for name in names} | {"last": self.hyperparameters.layers[-1]}
        weights = {n: self._weights.layer_digest(n) for n in self._weights.changed}
        return json.dumps(
            [
                dataclasses.replace(self._identity, precision=precision(self.model.device)).key(),
                weights, self._editor.place, search, self.contexts,
                [fact.to_dict() for fact in facts],
            ],
            sort_keys=True,
        )  # fmt: skip

    def _batches(self, number: int) -> list[Batch]:
        """All batches of the first so many edits."""
        return [batch for entry in self._entries[:number] for batch in entry.batches]

    def _make(self) -> None:
        """Make weights anew from the applied edits; the keys follow when they are needed."""
        self._make_weights(self._applied)
        self._memory = None

    def _make_weights(self, number: int | None) -> None:
        """Make the weights after so many edits; None, in the midst of which it is, for all."""
        self._shown = None
        self._weights.make(_changes(self._batches(self._applied if number is None else number)))
        self._shown = number


def _without_recipe(statistics: Mapping[str, Any]) -> dict[str, Any]:
    """What tells statistics apart; earlier versions named equal ones by another recipe."""
    return {name: value for name, value in statistics.items() if name != "recipe"}
