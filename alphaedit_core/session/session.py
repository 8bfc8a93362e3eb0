"""EditSession: edit a model, see what that did, take it back bit for bit."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from alphaedit_core.covariance.collect import collect_statistics
from alphaedit_core.data.fact_inputs import FactsLike, as_facts
from alphaedit_core.data.facts import Fact
from alphaedit_core.data.superseding import named
from alphaedit_core.editing.batch import BatchWrite
from alphaedit_core.editing.config import EditConfig
from alphaedit_core.editing.configs import config_from_dict
from alphaedit_core.editing.context_prefixes import contexts_for
from alphaedit_core.editing.defaults import default_hyperparameters, validated_editor
from alphaedit_core.editing.edited_weights import EditedWeights
from alphaedit_core.editing.target_search import Targets
from alphaedit_core.errors import (
    CorruptFileError,
    InputError,
    SessionError,
)
from alphaedit_core.inference.completions import TOKENS
from alphaedit_core.integers import as_integer
from alphaedit_core.model.batch_planning import plan_batches
from alphaedit_core.model.editable_model import EditableModel
from alphaedit_core.model.tokenization import check_lengths, prepare
from alphaedit_core.nullspace.eigendecomposition import eigendecompose
from alphaedit_core.nullspace.spectrum import Spectrum
from alphaedit_core.progress import Monitor

from . import files as ledger
from .edit_runner import EditRunner, _any_pruned, _changes, _kept
from .edits import Edit
from .environment import environment_info
from .model_check import _check_fingerprint, _compare, _named_model, check_distance
from .outcomes import _check_finite, _result, query_facts
from .results import EditResult
from .saved_model import SavesModel
from .statistics_record import statistics_record
from .tensor_checks import check_fits

log = logging.getLogger(__name__)


class EditSession(SavesModel):
    """Edits of one model, in order, each of which can be taken back.

    **The model's weights are changed in place** by :meth:`edit`; ``undo``, ``restore``, ``reset``
    and ``close`` put them back. One model has one session at a time.

    Args:
        model: the model, unedited.
        editor: name of the editor; None for AlphaEdit, or what the hyperparameters name.
        hyperparameters: None for the editor's in this model; see :func:`~.default_hyperparameters`.
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
        hyperparameters: EditConfig | None = None,
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
        self._editor = validated_editor(model, hyperparameters)
        super().__init__(model, hyperparameters.layers)
        self._stored = ledger.WriteCache()
        self._contexts = None if contexts is None else tuple(contexts)
        self._targets = targets
        self._spectra: dict[int, Spectrum] | None = None
        self._statistics: dict[str, Any] | None = None
        self._runner = self._new_runner()

    # -- looking ---------------------------------------------------------------------------------

    @property
    def hyperparameters(self) -> EditConfig:
        """The numbers that the next edit uses; each edit keeps those it was made with.

        Raises:
            InputError: if a layer or editor that is set does not exist, or a switch means nothing
                for the editor.
            SessionError: if other layers are set while the session has edits.
        """
        return self._hyperparameters

    @hyperparameters.setter
    def hyperparameters(self, new: EditConfig) -> None:
        old = self._hyperparameters
        editor = validated_editor(self.model, new)
        with self.model.exclusive():
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
            if (new.seed, new.context_tokens, new.contexts) != (
                old.seed,
                old.context_tokens,
                old.contexts,
            ):
                self._contexts = None
            self._hyperparameters, self._editor = new, editor
            if new != old:  # an editor may make its metric of any of them
                self._runner = self._new_runner()
        if new != old:
            self._watchers.tell("hyperparameters")

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
            with self.at_state(0):
                self._contexts = contexts_for(self.model, self.hyperparameters)
        return self._contexts

    @property
    def cached_spectra(self) -> dict[int, Spectrum] | None:
        """The spectra if :meth:`spectra` has been called, without any work."""
        return self._spectra

    @property
    def targets(self) -> dict[str, Targets] | None:
        """Target values kept for other sessions, by search; None if none are kept."""
        return self._targets

    def spectra(self, monitor: Monitor | None = None) -> dict[int, Spectrum]:
        """The spectrum of every edited layer; statistics are collected if the cache has none."""
        if self._spectra is None:
            monitor = monitor or Monitor()
            hp = self.hyperparameters
            with self.at_state(0):
                statistics = collect_statistics(
                    self.model, hp.text, hp.layers, hp.tokens, monitor=monitor
                )
            made = statistics_record(statistics, self._statistics)
            self._statistics, self._spectra = made, eigendecompose(statistics, monitor=monitor)
            self._watchers.tell("spectra")
        return self._spectra

    # -- editing ---------------------------------------------------------------------------------

    def edit(
        self, facts: FactsLike, batch_size: int = 100, monitor: Monitor | None = None
    ) -> EditResult:
        """Write facts into the model, batch after batch, sparing all facts written before.

        Edits that were undone can no longer be redone afterwards.

        Args:
            facts: one fact or several, as facts, dictionaries, a ``pandas.DataFrame`` or a
                ``datasets.Dataset``; see :func:`~.fact_inputs.as_facts`.
            batch_size: facts that are written together.
            monitor: what to report to.

        Raises:
            InputError: if the facts cannot be used; nothing was done.
            SessionError: if the threshold keeps no direction or the model has another session.
            Canceled: if canceled. Then, as after any exception, model and session are as before.
        """
        size = as_integer(batch_size)
        if size is None or size < 1:
            raise InputError(f"batch size {batch_size!r} is not a positive number; give 1 or more")
        checked = as_facts(facts)
        with self._in_use():
            self._require_held()
            self.check_weights()
            hp = self._hyperparameters
            check_lengths(
                self.model,
                checked,
                # A context is followed by ". ".
                hp.context_tokens + 2 if hp.contexts and self._contexts is None else 0,
                behind=TOKENS,
            )
            result = self._edit(checked, size, monitor or Monitor())
        self._watchers.tell("history")
        return result

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
            "made_with": environment_info(self.model),
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
        stored = ledger.WriteCache()
        manifest, entries = ledger.load_session(place, stored)
        applied = manifest["applied"]
        if model is None:
            model = _named_model(place, manifest, device, monitor, fetch_model)
        _check_fingerprint(place, manifest, model, model.fingerprint)
        _compare(place, manifest, model)
        hyperparameters = config_from_dict(manifest["hyperparameters"])
        try:
            session = cls(model, None, hyperparameters, manifest["contexts"])
        except InputError as error:
            raise CorruptFileError(f"session {place}: {error}") from None
        try:
            # Read anew: the model's own may have been taken before a weight was changed.
            _check_fingerprint(place, manifest, model, session._identity.fingerprint)
            matrix = model.architecture.matrix
            sizes = {n: (matrix(n).shape[0], matrix(n).shape[1]) for n in hyperparameters.layers}
            for batch in (batch for entry in entries for batch in entry.batches):
                check_fits(place, batch.changes, sizes)
            session._statistics, session._entries = manifest["statistics"], entries
            session._stored = stored
            session.restore(applied)
            if applied and session.weights_digest() != entries[applied - 1].digest:
                weights = session._weights
                check_distance(
                    place,
                    saved=entries[applied - 1].sketches,
                    here={layer: weights.sketch(layer) for layer in weights.layers},
                    norms={layer: weights.original_norm(layer) for layer in weights.layers},
                    made_with=manifest["made_with"],
                    made_here=environment_info(model),
                )
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
        self._prepare(monitor)
        requests = prepare(self.model, facts, self.contexts, self.hyperparameters.layers[-1])
        with monitor.stage("before", len(facts), "fact"):
            before = query_facts(self.model, facts, monitor)
        plan = plan_batches(self.model)
        writes: list[BatchWrite] = []
        size = min(batch_size, self._editor.at_once or batch_size)
        parts = [requests[i : i + size] for i in range(0, len(requests), size)]
        try:
            self._shown = None  # neither one state nor the other, from here on
            if self._editor.on_unpruned:
                self._weights.make(_changes(self._batches(self._applied), pruned=False))
            for part in parts:
                written = self._runner.write(part, self.contexts, self._identity, plan, monitor)
                writes.append(written)
                plan = written.plan
            new = [_kept(part, written) for part, written in zip(parts, writes, strict=True)]
            everything = [*self._batches(self._applied), *new]
            if _any_pruned(everything):  # of their sum, which has grown
                self._weights.make(_changes(everything))
            with monitor.stage("after", len(facts), "fact"):
                after = query_facts(self.model, facts, monitor)
            _check_finite(facts, after)
            seconds = {
                name: spent - already.get(name, 0.0)
                for name, spent in monitor.seconds.items()
                if spent > already.get(name, 0.0)
            }
            # Between the stages: the facts as tokens, the projectors, PRUNE's sum.
            rest = time.perf_counter() - start - sum(seconds.values())
            seconds |= {"rest": rest} if rest > 0 else {}
            entry = Edit(
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

    def _prepare(self, monitor: Monitor) -> None:
        """See that the runner has what it needs; spectra that were damaged since are read again."""
        applied = self._batches(self._applied)
        try:
            self._runner.prepare(self.spectra(monitor), applied)
        except CorruptFileError as error:
            log.warning("%s; made again", error)
            self._spectra = None
            self._runner.prepare(self.spectra(monitor), applied)

    def _forget_keys(self) -> None:
        self._runner.forget_keys()

    def _new_runner(self) -> EditRunner:
        return EditRunner(
            self.model, self._weights, self._editor, self._hyperparameters, self._targets
        )
