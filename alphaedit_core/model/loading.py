"""Load a model and its tokenizer, ready to be edited.

``load_model`` takes the packaged default, a hub id, a local directory or a GGUF file, and returns
an :class:`~.EditableModel`. Only safetensors are read, and no code that comes with a model is run.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from alphaedit_core.errors import (
    InputError,
    SessionError,
    StructureError,
)
from alphaedit_core.progress import Monitor

from .architecture import ModulePaths, find_architecture
from .editable_model import EditableModel
from .load_checks import check_cache, mlp_reach
from .model_sources import _refusing, _weights, quiet_transformers, resolve_model
from .ownership import ownership_of, wraps_of
from .packaged import DEFAULT_MODEL

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

#: Dtypes of weights that a forward pass computes in.
_COMPUTED_IN = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def load_model(
    name: str | Path = DEFAULT_MODEL,
    device: str = "auto",
    dtype: str = "auto",
    places: ModulePaths | None = None,
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
    folder = resolve_model(str(name), monitor or Monitor(), network)
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
    places: ModulePaths | None = None,
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
        if same and places in (None, known.architecture.places):
            wrapped: EditableModel = known
            return wrapped
    architecture = find_architecture(model, places)
    check_cache(model, architecture)
    architecture = replace(architecture, reach=mlp_reach(model, architecture))
    hold = ownership_of(model, architecture)
    if applied := getattr(hold.owner, "applied", 0):
        raise SessionError(
            f'model "{name}" holds {applied} edits of a session already; close() that, or use its '
            "own model"
        )
    for known in hold.wraps:
        known.fingerprint  # noqa: B018 - taken now: a session of the new wrap would change it
    new = EditableModel(model, tokenizer, architecture, name, hold)
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
