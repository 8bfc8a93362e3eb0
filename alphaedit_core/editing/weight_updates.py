"""Weight updates, each stored in its smallest form.

A closed form gives two thin matrices. RECT keeps only some entries of their product (Gu et al.
2024), fine-tuning gives a whole matrix, and PRUNE (Ma et al. 2025) adds a function of the *sum* of
all its updates. :func:`compose` adds them to a weight.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from alphaedit_core.errors import InputError

#: Number of rows converted to float64 at a time.
_CHUNK = 1024


class LowRank(NamedTuple):
    """The update ``left @ right.T``, of rank at most n.

    Attributes:
        left: (d_out, n), float32.
        right: (d_in, n), float32.
    """

    left: Tensor
    right: Tensor

    @property
    def norm(self) -> float:
        """Frobenius norm, from n x n products or the matrix itself, whichever is smaller."""
        if self.left.shape[1] > len(self.left):
            return float((self.left @ self.right.T).norm())
        # float64, because canceling columns make the sum far smaller than its terms.
        gram = gram_matrix(self.left, self.left) * gram_matrix(self.right, self.right)
        return float(gram.sum().clamp_min(0).sqrt())

    @property
    def size(self) -> tuple[int, int]:
        """(d_out, d_in)."""
        return len(self.left), len(self.right)

    def add_to(self, master: Tensor) -> None:
        """Add the update to a float32 matrix (d_out, d_in) in place."""
        master.addmm_(self.left.to(master), self.right.to(master).T)


@dataclass(frozen=True, eq=False)
class Pruned:
    """The update ``left @ right.T`` of PRUNE; the sum of a layer's updates is pruned.

    Attributes:
        left: (d_out, n), float32.
        right: (d_in, n), float32.
        largest: largest singular value of the original weight, (), float64, > 0.
    """

    left: Tensor
    right: Tensor
    largest: Tensor

    @property
    def unpruned(self) -> LowRank:
        """The update before pruning."""
        return LowRank(self.left, self.right)

    @property
    def norm(self) -> float:
        """Frobenius norm before pruning."""
        return self.unpruned.norm

    @property
    def size(self) -> tuple[int, int]:
        """(d_out, d_in)."""
        return self.unpruned.size

    def add_to(self, master: Tensor) -> None:
        """Add the unpruned update in place, as seen by later batches of the same edit."""
        self.unpruned.add_to(master)


@dataclass(frozen=True, eq=False)
class Sparse:
    """An update of some entries of a weight.

    Attributes:
        index: row-major flat indices of the m entries, ascending, (m,), int32.
        values: change of each entry, (m,), float32.
        shape: d_out and d_in, (2,), int64.
    """

    index: Tensor
    values: Tensor
    shape: Tensor

    @property
    def norm(self) -> float:
        """Frobenius norm."""
        return float(in_float64(self.values).norm())

    @property
    def size(self) -> tuple[int, int]:
        """(d_out, d_in)."""
        rows, columns = self.shape.tolist()
        return rows, columns

    def add_to(self, master: Tensor) -> None:
        """Add the update to a float32 matrix (d_out, d_in) in place."""
        index, width = self.index.to(master.device).long(), master.shape[1]
        master[index // width, index % width] += self.values.to(master)


@dataclass(frozen=True, eq=False)
class Dense:
    """An update of a whole weight.

    Attributes:
        matrix: (d_out, d_in), float32.
    """

    matrix: Tensor

    @property
    def norm(self) -> float:
        """Frobenius norm."""
        return float(in_float64(self.matrix).norm())

    @property
    def size(self) -> tuple[int, int]:
        """(d_out, d_in)."""
        return self.matrix.shape[0], self.matrix.shape[1]

    def add_to(self, master: Tensor) -> None:
        """Add the update to a float32 matrix (d_out, d_in) in place."""
        master += self.matrix.to(master)


WeightUpdate = LowRank | Pruned | Sparse | Dense

_KINDS: Mapping[str, type[LowRank] | type[Pruned] | type[Sparse] | type[Dense]] = {
    "low-rank": LowRank,
    "pruned": Pruned,
    "sparse": Sparse,
    "dense": Dense,
}
_FIELDS = {
    "low-rank": ("left", "right"),
    "pruned": ("left", "right", "largest"),
    "sparse": ("index", "values", "shape"),
    "dense": ("matrix",),
}


def kind_of(change: WeightUpdate) -> str:
    """Return the kind of an update: ``low-rank``, ``pruned``, ``sparse`` or ``dense``."""
    return next(kind for kind, cls in _KINDS.items() if type(change) is cls)


def tensors_of(change: WeightUpdate) -> dict[str, Tensor]:
    """Return the tensors of an update by name."""
    return {name: getattr(change, name) for name in _FIELDS[kind_of(change)]}


def tensor_names(kind: str) -> tuple[str, ...]:
    """Return the names of the tensors of a kind of update.

    Raises:
        InputError: if the kind does not exist.
    """
    if kind not in _FIELDS:
        raise InputError(f'change "{kind}" does not exist; give one of {", ".join(_FIELDS)}')
    return _FIELDS[kind]


def change_from(kind: str, tensors: Mapping[str, Tensor]) -> WeightUpdate:
    """Return the update with a kind and tensors from :func:`kind_of` and :func:`tensors_of`.

    Raises:
        KeyError: if the kind does not exist or a tensor is missing.
    """
    return _KINDS[kind](**{name: tensors[name] for name in _FIELDS[kind]})


def contiguous_copy(change: WeightUpdate, device: torch.device | str | None = None) -> WeightUpdate:
    """Return a copy of an update with the memory layout of one that was loaded from a file.

    The layout can affect the last bits of sums.

    Args:
        change: any update.
        device: device of the copy; None to keep each tensor's device.
    """
    tensors = {
        name: tensor.to(device or tensor.device).clone(memory_format=torch.contiguous_format)
        for name, tensor in tensors_of(change).items()
    }
    return change_from(kind_of(change), tensors)


def dense(change: WeightUpdate) -> Tensor:
    """Return an update as a matrix (d_out, d_in), before any pruning."""
    like = next(tensor for tensor in tensors_of(change).values() if tensor.is_floating_point())
    whole = like.new_zeros(change.size)
    change.add_to(whole)
    return whole


def projected(change: WeightUpdate, projector: Callable[[Tensor], Tensor]) -> WeightUpdate:
    """Return ``dW P``.

    Args:
        change: dW.
        projector: returns ``P x`` for columns x, (d_in, n).
    """
    if isinstance(change, LowRank | Pruned):
        return LowRank(change.left, projector(change.right))
    return Dense(projector(dense(change).T).T)


def total_change(changes: Sequence[WeightUpdate]) -> WeightUpdate:
    """Return the sum of all updates of a layer: low-rank if all are, else dense and pruned.

    Args:
        changes: at least one update, in order.
    """
    pairs = [change for change in changes if isinstance(change, LowRank)]
    if len(pairs) == len(changes):
        return LowRank(
            torch.cat([pair.left for pair in pairs], dim=1),
            torch.cat([pair.right for pair in pairs], dim=1),
        )
    return Dense(compose(torch.zeros(changes[0].size), changes))


def compose(master: Tensor, changes: Iterable[WeightUpdate]) -> Tensor:
    """Add updates to the original matrix (d_out, d_in), float32, in place, and return it.

    Updates are added in order, and the pruned sum of all :class:`Pruned` updates comes last.
    Without pruned updates, adding some now and the rest later gives the same bits as adding all
    together.
    """
    pruned: list[Pruned] = []
    for change in changes:
        if isinstance(change, Pruned):
            pruned.append(change)
        else:
            change.add_to(master)
    if pruned:
        master += pruned_sum(pruned).to(master)
    return master


def pruned_sum(updates: Sequence[Pruned]) -> Tensor:
    """Return the sum of updates with its large singular values reduced (Ma et al. 2025, Eq. 7).

    With s the largest singular value of the original weight, a singular value sigma above s
    becomes ``log sigma - log s + s``.

    Args:
        updates: at least one update, all of one weight.

    Returns:
        (d_out, d_in), float64.
    """
    bound = float(updates[0].largest)  # s
    left, right = (
        torch.cat([in_float64(getattr(update, side)) for update in updates], dim=1)
        for side in ("left", "right")
    )
    # The singular values of a product of thin matrices are those of the product of their R factors.
    thin = left.shape[1] < min(len(left), len(right))
    if thin:
        (left, core_left), (right, core_right) = torch.linalg.qr(left), torch.linalg.qr(right)
        core = core_left @ core_right.T
    else:
        core = left @ right.T
    u, sigma, v = torch.linalg.svd(core, full_matrices=False)
    reduced = torch.where(
        sigma > bound, sigma.clamp_min(bound).log() - math.log(bound) + bound, sigma
    )
    pruned: Tensor = (u * reduced) @ v
    return left @ pruned @ right.T if thin else pruned


def gram_matrix(a: Tensor, b: Tensor) -> Tensor:
    """Return ``a^T b`` in float64, without a float64 copy of either matrix."""
    total = in_float64(a[:0]).new_zeros(a.shape[1], b.shape[1])
    for top in range(0, len(a), _CHUNK):
        total += in_float64(a[top : top + _CHUNK]).T @ in_float64(b[top : top + _CHUNK])
    return total


def in_float64(tensor: Tensor) -> Tensor:
    """Return a tensor in float64, on the CPU if its device has no float64 (MPS)."""
    return (tensor.cpu() if tensor.device.type == "mps" else tensor).double()
