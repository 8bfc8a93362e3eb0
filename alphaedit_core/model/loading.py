"""Load a model and its tokenizer, ready to be edited: ``load_model`` and ``wrap``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from alphaedit_core.progress import Monitor

from .architecture import ModulePaths
from .editable_model import EditableModel
from .packaged import DEFAULT_MODEL

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast


def load_model(
    name: str | Path = DEFAULT_MODEL,
    device: str = "auto",
    dtype: str | torch.dtype = "auto",
    places: ModulePaths | None = None,
    monitor: Monitor | None = None,
    network: bool = True,
) -> EditableModel:
    """Load a causal language model for editing; see :meth:`.EditableModel.from_pretrained`.

    Args:
        name: ``"smollm2-135m"`` (packaged), a local directory, a ``.gguf`` file, or a hub id such
            as ``"meta-llama/Meta-Llama-3-8B-Instruct"``; ``@`` and a revision may follow a hub id.
        device: ``"auto"`` takes CUDA, then MPS, then the CPU; or any torch device.
        dtype: ``"auto"`` takes the dtype of the stored weights on an accelerator and float32 on
            the CPU (where 16-bit arithmetic is slower); or ``float32``, ``bfloat16``, ``float16``,
            ``float64``.
        places: paths of the modules, for a structure that is not recognized.
        monitor: receives progress.
        network: whether a hub id may be downloaded; if not, an earlier download is used.

    Raises:
        InputError: if the model, device or dtype does not exist, or the model's files are damaged
            or incomplete.
        StructureError: if the structure is not recognized.
        FetchError: if the packaged model cannot be fetched.
    """
    return EditableModel.from_pretrained(
        name,
        device=device,
        dtype=dtype,
        places=places,
        monitor=monitor,
        local_files_only=not network,
    )


def wrap(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    name: str,
    places: ModulePaths | None = None,
) -> EditableModel:
    """Make a loaded transformers model editable; see :meth:`.EditableModel.from_transformers`."""
    return EditableModel.from_transformers(model, tokenizer, name, places)
