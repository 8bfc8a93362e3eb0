"""EditSession: edit a model, inspect the results, and undo edits bit for bit."""

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
from alphaedit_core.data.superseding import superseded_facts
from alphaedit_core.editing.batch import BatchWrite
from alphaedit_core.editing.config import EditConfig
from alphaedit_core.editing.configs import config_from_dict
from alphaedit_core.editing.context_prefixes import contexts_for
from alphaedit_core.editing.defaults import default_hyperparameters, validated_editor
from alphaedit_core.editing.edited_weights import EditedWeights
from alphaedit_core.editing.target_search import Targets
from alphaedit_core.errors import CorruptFileError, InputError, SessionError
from alphaedit_core.inference.completions import TOKENS
from alphaedit_core.integers import as_integer
from alphaedit_core.model.batch_planning import plan_batches
from alphaedit_core.model.editable_model import EditableModel
from alphaedit_core.model.tokenization import check_lengths, prepare
from alphaedit_core.nullspace.eigendecomposition import eigendecompose
from alphaedit_core.nullspace.spectrum import Spectrum
from alphaedit_core.progress import Monitor

from . import files as session_files
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
    """A sequence of edits of one model, with undo and redo.

    **:meth:`edit` changes the model's weights in place**; ``undo``, ``restore``, ``reset`` and
    ``close`` restore them. A model has one session at a time.

    Args:
        model: the unedited model.
        editor: name of the editor; None for the editor of ``hyperparameters``, or AlphaEdit.
        hyperparameters: configuration of the editor; None for the defaults of this model, see
            :func:`~.default_hyperparameters`.
        contexts: texts to put before prompts; None to sample them from the model.
        targets: cache of target values, read and extended, for sharing between sessions. Editors
            with the same search, facts and weights then search only once. None for no cache.

    Attributes:
        model: the model.
        last_result: the result of the last applied edit, or None.

    Raises:
        SessionError: if the model holds edits of another session.
        InputError: if the editor or a layer does not exist, or the hyperparameters belong to
            another editor.
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
                f'editor "{editor}" is not the editor of the hyperparameters, '
                f'"{hyperparameters.editor}"; give one of the two, or '
                "default_hyperparameters(model, editor)"
            )
        self._hyperparameters = hyperparameters
        self._editor = validated_editor(model, hyperparameters)
        super().__init__(model, hyperparameters.layers)
        self._stored = session_files.WriteCache()
        self._contexts = None if contexts is None else tuple(contexts)
        self._targets = targets
        self._spectra: dict[int, Spectrum] | None = None
        self._statistics: dict[str, Any] | None = None
        self._runner = self._new_runner()

    # -- properties ------------------------------------------------------------------------------

    @property
    def hyperparameters(self) -> EditConfig:
        """Hyperparameters of the next edit; each edit stores its own.

        Raises:
            InputError: on assignment, if a layer or editor does not exist, or the editor does not
                support a switch.
            SessionError: on assignment, if the layers differ and the session has edits.
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
            if new != old:  # an editor's preconditioner may depend on any of them
                self._runner = self._new_runner()
        if new != old:
            self._watchers.tell("hyperparameters")

    @property
    def editor(self) -> str:
        """Name of the editor of the next edit."""
        return self._hyperparameters.editor

    @property
    def methods(self) -> str:
        """Methods of the applied edits without repetition; without edits that of the next one."""
        used = [entry.hyperparameters.method for entry in self._entries[: self._applied]]
        return " and ".join(dict.fromkeys(used or [self.hyperparameters.method]))

    @property
    def last_result(self) -> EditResult | None:
        """Result of the last applied edit, or None."""
        return self._entries[self._applied - 1].result if self._applied else None

    @property
    def timings(self) -> dict[str, float]:
        """Wall-clock seconds per stage of the last applied edit."""
        return dict(self.last_result.seconds) if self.last_result else {}

    @property
    def contexts(self) -> tuple[str, ...]:
        """Context prefixes of prompts; sampled from the unedited model on first use."""
        if self._contexts is None:
            with self.at_state(0):
                self._contexts = contexts_for(self.model, self.hyperparameters)
        return self._contexts

    @property
    def cached_spectra(self) -> dict[int, Spectrum] | None:
        """The spectra if :meth:`spectra` was called, else None; computes nothing."""
        return self._spectra

    @property
    def targets(self) -> dict[str, Targets] | None:
        """Target values kept for other sessions, by search; None if none are kept."""
        return self._targets

    def spectra(self, monitor: Monitor | None = None) -> dict[int, Spectrum]:
        """Return the spectrum of every edited layer.

        Key statistics are collected if they are not cached.

        Args:
            monitor: receives progress.

        Raises:
            InputError: if the text of the statistics cannot be used.
            SessionError: if another thread uses the model.
            Canceled: if canceled.
        """
        if self._spectra is None:
            monitor = monitor or Monitor()
            hp = self.hyperparameters
            with self.at_state(0):
                statistics = collect_statistics(
                    self.model, hp.text, hp.layers, hp.tokens, monitor=monitor
                )
            record = statistics_record(statistics, self._statistics)
            self._statistics, self._spectra = record, eigendecompose(statistics, monitor=monitor)
            self._watchers.tell("spectra")
        return self._spectra

    # -- editing ---------------------------------------------------------------------------------

    def edit(
        self, facts: FactsLike, batch_size: int = 100, monitor: Monitor | None = None
    ) -> EditResult:
        """Write facts into the model batch by batch, preserving all facts written before.

        Undone edits can no longer be redone afterwards. Model and session are unchanged after any
        exception.

        Args:
            facts: one fact or several, as facts, dictionaries, a ``pandas.DataFrame`` or a
                ``datasets.Dataset``; see :func:`~.fact_inputs.as_facts`.
            batch_size: facts per batch.
            monitor: receives progress.

        Raises:
            InputError: if the facts or the batch size cannot be used.
            SessionError: if the threshold keeps no direction, the weights were changed outside the
                session, the session is closed, or another thread uses the model.
            DivergedError: if the edited model's output is not finite.
            Canceled: if canceled.
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
                # ". " separates a context from the prompt.
                hp.context_tokens + 2 if hp.contexts and self._contexts is None else 0,
                behind=TOKENS,
            )
            result = self._edit(checked, size, monitor or Monitor())
        self._watchers.tell("history")
        return result

    # -- files -----------------------------------------------------------------------------------

    def manifest(self) -> dict[str, Any]:
        """Return a JSON-serializable description of the session without its edits.

        Nothing is computed. The fields are the model's name, fingerprint, dtype and identity, the
        editor, hyperparameters, contexts and statistics (None until first used), and the versions
        and machine.
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
        """Save the session to a folder, atomically.

        Args:
            folder: folder of the session; created if it does not exist.
            overwrite: whether to replace another session in the folder, or changes that another
                process made since this session was loaded or saved there.

        Raises:
            InputError: if the folder holds something other than a session.
            SessionError: if the folder holds a session that would be lost, or another process is
                writing to it.
            OSError: if a file cannot be written; an existing session is unchanged.
        """
        session_files.save_session(
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
        """Load a saved session and apply its edits to its model.

        If the weights differ from the saved ones by rounding only, for example on another machine,
        a warning reports the distance. Larger differences are an error.

        Args:
            folder: folder of the session.
            model: the unedited model; None to load the model that the session names.
            device: device to load the model on if ``model`` is None.
            monitor: receives progress.
            fetch_model: whether the model may be downloaded from the Hugging Face Hub.

        Raises:
            InputError: if the folder holds no session, or its model is not on this machine and may
                not be downloaded.
            CorruptFileError: if a file is damaged or not written by this library, or the updates
                do not lead to the saved weights.
            FingerprintError: if the model's weights, tokenizer, configuration or module paths
                differ from those of the session, so that its edits would have another meaning.
            SessionError: if the model holds edits of another session.
        """
        path = Path(folder)
        stored = session_files.WriteCache()
        manifest, entries = session_files.load_session(path, stored)
        applied = manifest["applied"]
        if model is None:
            model = _named_model(path, manifest, device, monitor, fetch_model)
        _check_fingerprint(path, manifest, model, model.fingerprint)
        _compare(path, manifest, model)
        hyperparameters = config_from_dict(manifest["hyperparameters"])
        try:
            session = cls(model, None, hyperparameters, manifest["contexts"])
        except InputError as error:
            raise CorruptFileError(f"session {path}: {error}") from None
        try:
            # Checked again: the model's fingerprint may be older than a change of its weights.
            _check_fingerprint(path, manifest, model, session._identity.fingerprint)
            matrix = model.architecture.matrix
            sizes = {n: (matrix(n).shape[0], matrix(n).shape[1]) for n in hyperparameters.layers}
            for batch in (batch for entry in entries for batch in entry.batches):
                check_fits(path, batch.changes, sizes)
            session._statistics, session._entries = manifest["statistics"], entries
            session._stored = stored
            session.restore(applied)
            if applied and session.weights_digest() != entries[applied - 1].digest:
                weights = session._weights
                check_distance(
                    path,
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

    # -- implementation --------------------------------------------------------------------------

    def _edit(self, facts: Sequence[Fact], batch_size: int, monitor: Monitor) -> EditResult:
        seconds_before, start = dict(monitor.seconds), time.perf_counter()
        self._prepare(monitor)
        requests = prepare(self.model, facts, self.contexts, self.hyperparameters.layers[-1])
        with monitor.stage("before", len(facts), "fact"):
            before = query_facts(self.model, facts, monitor)
        plan = plan_batches(self.model)
        writes: list[BatchWrite] = []
        size = min(batch_size, self._editor.at_once or batch_size)
        parts = [requests[i : i + size] for i in range(0, len(requests), size)]
        try:
            self._shown = None  # the weights are between two states from here on
            if self._editor.on_unpruned:
                self._weights.make(_changes(self._batches(self._applied), pruned=False))
            for part in parts:
                written = self._runner.write(part, self.contexts, self._identity, plan, monitor)
                writes.append(written)
                plan = written.plan
            new = [_kept(part, written) for part, written in zip(parts, writes, strict=True)]
            batches = [*self._batches(self._applied), *new]
            if _any_pruned(batches):  # PRUNE acts on the sum of all updates
                self._weights.make(_changes(batches))
            with monitor.stage("after", len(facts), "fact"):
                after = query_facts(self.model, facts, monitor)
            _check_finite(facts, after)
            seconds = {
                name: spent - seconds_before.get(name, 0.0)
                for name, spent in monitor.seconds.items()
                if spent > seconds_before.get(name, 0.0)
            }
            # Tokenization, projectors and PRUNE's sum are not part of any stage.
            rest = time.perf_counter() - start - sum(seconds.values())
            seconds |= {"rest": rest} if rest > 0 else {}
            entry = Edit(
                created=datetime.now(UTC).isoformat(timespec="seconds"),
                batches=new,
                result=dataclasses.replace(
                    _result(self.model, parts, writes, before, after, seconds),
                    superseded=superseded_facts(
                        [e.batches for e in self._entries[: self._applied]], new
                    ),
                ),
                digest=self.weights_digest(),
                hyperparameters=self.hyperparameters,
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
        """Prepare the runner; if a file of eigenvectors was damaged, recompute the spectra."""
        applied = self._batches(self._applied)
        try:
            self._runner.prepare(self.spectra(monitor), applied)
        except CorruptFileError as error:
            log.warning("%s; computed again", error)
            self._spectra = None
            self._runner.prepare(self.spectra(monitor), applied)

    def _forget_keys(self) -> None:
        self._runner.forget_keys()

    def _new_runner(self) -> EditRunner:
        return EditRunner(
            self.model, self._weights, self._editor, self._hyperparameters, self._targets
        )
