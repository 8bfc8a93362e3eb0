"""Versions, machine and threads, which change the rounding of results."""

from __future__ import annotations

import platform
from typing import Any

import torch
import transformers

from alphaedit_core._version import __version__
from alphaedit_core.model.editable_model import EditableModel


def environment_info(model: EditableModel) -> dict[str, Any]:
    """Return versions, machine, device and threads, which change the last bits of results."""
    return {
        "alphaedit": __version__,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "device": str(model.device),
        "threads": torch.get_num_threads(),
    }
