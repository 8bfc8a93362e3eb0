"""What an edit adds to one weight, kept in the form in which it is smallest.

A closed form gives a pair of thin matrices. RECT keeps only some entries of one (Gu et al. 2024),
fine-tuning gives a whole matrix, and PRUNE (Ma et al. 2025) adds a function of the *sum* of all its
updates. All are stored as what they are, and :func:`compose` makes a weight of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from alphaedit_core.errors import InputError

#: Rows that are brought to float64 at a time.
_CHUNK = 1024


class LowRank(NamedTuple):
    """A change of a weight, ``left @ right.T``.

    Attributes:
        left: (d_out, n), float32.
        right: (d_in, n), float32.
    """

    left: Tensor
    right: Tensor

    @property
    def norm(self) -> float:
        """Frobenius norm, by the smaller way: n x n products, or the matrix itself."""
        if self.left.shape[1] > len(self.left):
            return float((self.left @ self.right.T).norm())
        # In float64: where columns cancel each other, the sum is far smaller than its terms.
        gram = gram_matrix(self.left, self.left) * gram_matrix(self.right, self.right)
        return float(gram.sum().clamp_min(0).sqrt())

    @property
    def size(self) -> tuple[int, int]:
        """(d_out, d_in)."""
        return len(self.left), len(self.right)

    def add_to(self, master: Tensor) -> None:
        """Add it to a float32 matrix (d_out, d_in) in place."""
        master.addmm_(self.left.to(master), self.right.to(master).T)


@dataclass(frozen=True, eq=False)
class Pruned:
    """A pair of thin matrices of which the sum over all such changes of a layer is pruned.

    Attributes:
        left, right: as in :class:`LowRank`.
        largest: the largest singular value of the original weight, above 0; (), float64.
    """

    left: Tensor
    right: Tensor
    largest: Tensor

    @property
    def unpruned(self) -> LowRank:
        """The update itself."""
        return LowRank(self.left, self.right)

    @property
    def norm(self) -> float:
        """Frobenius norm of the update itself."""
        return self.unpruned.norm

    @property
    def size(self) -> tuple[int, int]:
        """(d_out, d_in)."""
        return self.unpruned.size

    def add_to(self, master: Tensor) -> None:
        """Add the update itself, as later batches of the same edit see it."""
        self.unpruned.add_to(master)


@dataclass(frozen=True, eq=False)
class Sparse:
    """A change of some entries of a weight.

    Attributes:
        index: their places in the matrix read row by row, ascending, (m,), int32.
        values: what is added there, (m,), float32.
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
        """Add it to a float32 matrix (d_out, d_in) in place."""
        index, width = self.index.to(master.device).long(), master.shape[1]
        master[index // width, index % width] += self.values.to(master)


@dataclass(frozen=True, eq=False)
class Dense:
    """A change of a whole weight.

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
        """Add it to a float32 matrix (d_out, d_in) in place."""
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
    """``low-rank``, ``pruned``, ``sparse`` or ``dense``."""
    return next(kind for kind, own in _KINDS.items() if type(change) is own)


def tensors_of(change: WeightUpdate) -> dict[str, Tensor]:
    """What a change consists of, by name."""
    return {name: getattr(change, name) for name in _FIELDS[kind_of(change)]}


def tensor_names(kind: str) -> tuple[str, ...]:
    """Names of the tensors that a change of a kind consists of.

    Raises:
        InputError: if there is no such kind.
    """
    if kind not in _FIELDS:
        raise InputError(f'change "{kind}" is not known; there are {", ".join(_FIELDS)}')
    return _FIELDS[kind]


def change_from(kind: str, tensors: Mapping[str, Tensor]) -> WeightUpdate:
    """The inverse of :func:`kind_of` and :func:`tensors_of`.

    Raises:
        KeyError: if there is no such kind, or a tensor is missing.
    """
    return _KINDS[kind](**{name: tensors[name] for name in _FIELDS[kind]})


def contiguous_copy(change: WeightUpdate, device: torch.device | str | None = None) -> WeightUpdate:
    """The change as it will lie in memory when it comes from a file.

    The last bits of sums can depend on that. A copy is made in any case.

    Args:
        change: any change.
        device: where to; None for where it is.
    """
    tensors = {
        name: tensor.to(device or tensor.device).clone(memory_format=torch.contiguous_format)
        for name, tensor in tensors_of(change).items()
    }
    return change_from(kind_of(change), tensors)


def dense(change: WeightUpdate) -> Tensor:
    """A change as a matrix (d_out, d_in); a pruned one counts as the update that it is."""
    like = next(tensor for tensor in tensors_of(change).values() if tensor.is_floating_point())
    whole = like.new_zeros(change.size)
    change.add_to(whole)
    return whole


def projected(change: WeightUpdate, projector: Callable[[Tensor], Tensor]) -> WeightUpdate:
    """``dW P``.

    Args:
        change: dW.
        projector: gives ``P x`` for columns x.
    """
    if isinstance(change, LowRank | Pruned):
        return LowRank(change.left, projector(change.right))
    return Dense(projector(dense(change).T).T)


def total_change(changes: Sequence[WeightUpdate]) -> WeightUpdate:
    """The sum of all changes of a layer, as it is in the weight: pairs stay a pair.

    Args:
        changes: at least one, in order.
    """
    pairs = [change for change in changes if isinstance(change, LowRank)]
    if len(pairs) == len(changes):
        return LowRank(
            torch.cat([pair.left for pair in pairs], dim=1),
            torch.cat([pair.right for pair in pairs], dim=1),
        )
    return Dense(compose(torch.zeros(changes[0].size), changes))


def compose(master: Tensor, changes: Iterable[WeightUpdate]) -> Tensor:
    """Add changes to the original matrix (d_out, d_in), float32, in place, and return it.

    They are added in order; without pruned ones, adding some now and the rest later gives the same
    bits as adding all at once. The pruned sum of those that are pruned comes last.
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
    """The sum of updates with its large singular values brought down (Ma et al. 2025, Eq. 7).

    A singular value sigma above the original weight's largest s becomes ``log sigma - log s + s``.

    Args:
        updates: at least one, all of one weight.

    Returns:
        (d_out, d_in), float64.
    """
    most = float(updates[0].largest)
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
    less = torch.where(sigma > most, sigma.clamp_min(most).log() - math.log(most) + most, sigma)
    pruned: Tensor = (u * less) @ v
    return left @ pruned @ right.T if thin else pruned


def gram_matrix(a: Tensor, b: Tensor) -> Tensor:
    """``a^T b`` in float64, without a float64 copy of either."""
    total = in_float64(a[:0]).new_zeros(a.shape[1], b.shape[1])
    for top in range(0, len(a), _CHUNK):
        total += in_float64(a[top : top + _CHUNK]).T @ in_float64(b[top : top + _CHUNK])
    return total


def in_float64(tensor: Tensor) -> Tensor:
    """In float64, on the CPU where the device has none (MPS)."""
    return (tensor.cpu() if tensor.device.type == "mps" else tensor).double()
