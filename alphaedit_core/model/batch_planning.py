"""How much goes through a model at once: planned from free memory, once, and recorded.

Floating-point sums depend on how rows are grouped. So the plan is rounded down to a power of two
(the same on machines alike), kept with every entry of a session, and used again when that entry is
replayed.
"""

from __future__ import annotations

from dataclasses import dataclass

import psutil
import torch

from .editable_model import EditableModel

#: More tokens than this at once gain nothing on the CPU, where caches are small …
_MOST_CPU = 1024
#: … nor on a GPU, which is busy by then.
_MOST_GPU = 16_384
_LEAST = 32


@dataclass(frozen=True)
class BatchPlan:
    """How many tokens go through the blocks together.

    Attributes:
        tokens: with gradients, counted without padding.
    """

    tokens: int

    def halved(self) -> BatchPlan | None:
        """Half as many, or None where that makes no sense any more."""
        return BatchPlan(self.tokens // 2) if self.tokens > _LEAST else None


def plan_batches(model: EditableModel) -> BatchPlan:
    """A plan that uses at most half of the memory that is free now."""
    blocks, architecture = model.layers, model.architecture
    vocabulary = int(model.model.config.get_text_config().vocab_size)
    # What automatic differentiation keeps of one token: about 16 vectors of the residual width and
    # 5 of the inner width a block, and three times the logits in float32.
    width = model.dtype.itemsize
    bytes_per_token = blocks * (16 * architecture.hidden_size + 5 * architecture.inner_size) * width
    bytes_per_token += 12 * vocabulary
    most = _MOST_CPU if model.device.type == "cpu" else _MOST_GPU
    fitting = max(_LEAST, min(most, free_memory(model.device) // 2 // bytes_per_token))
    return BatchPlan(1 << (int(fitting).bit_length() - 1))


def free_memory(device: torch.device) -> int:
    """Bytes free on a device (for the CPU and MPS, what the system has available)."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)
