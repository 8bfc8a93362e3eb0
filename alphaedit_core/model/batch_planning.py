"""Number of tokens that go through a model at once, planned from free memory.

Floating-point sums depend on how rows are grouped. The plan is therefore rounded down to a power of
two (equal on similar machines), stored with every edit of a session, and reused when that edit is
replayed.
"""

from __future__ import annotations

from dataclasses import dataclass

import psutil
import torch

from .editable_model import EditableModel

#: Larger batches are no faster on the CPU, whose caches are small …
_MAX_CPU = 1024
#: … or on a GPU, which is saturated at this size.
_MAX_GPU = 16_384
_MIN = 32


@dataclass(frozen=True)
class BatchPlan:
    """Number of tokens that go through the blocks together.

    Attributes:
        tokens: number with gradients, without padding.
    """

    tokens: int

    def halved(self) -> BatchPlan | None:
        """Return a plan of half as many tokens, or None at the minimum."""
        return BatchPlan(self.tokens // 2) if self.tokens > _MIN else None


def plan_batches(model: EditableModel) -> BatchPlan:
    """Return a plan that uses at most half of the free memory."""
    blocks, architecture = model.layers, model.architecture
    vocabulary = int(model.model.config.get_text_config().vocab_size)
    # Automatic differentiation keeps per token about 16 vectors of the residual width and 5 of the
    # inner width in each block, and three copies of the logits in float32.
    width = model.dtype.itemsize
    bytes_per_token = blocks * (16 * architecture.hidden_size + 5 * architecture.inner_size) * width
    bytes_per_token += 12 * vocabulary
    maximum = _MAX_CPU if model.device.type == "cpu" else _MAX_GPU
    fitting = max(_MIN, min(maximum, free_memory(model.device) // 2 // bytes_per_token))
    return BatchPlan(1 << (int(fitting).bit_length() - 1))


def free_memory(device: torch.device) -> int:
    """Return the free bytes of a device (for the CPU and MPS, of the system's memory)."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)
