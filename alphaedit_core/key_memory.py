"""Keys of all facts a session has written, so that later edits spare them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from torch import Tensor

from .closed_form import EarlierKeys, Metric
from .facts import Fact


class Corrected:
    """What facts say something of: another fact is ``in`` it if it is about the same thing.

    That is the same subject and prompt (:attr:`Fact.slot`), or subject and relation id, by which
    two differently worded facts are about the same thing.

    Args:
        facts: the later facts.
    """

    def __init__(self, facts: Iterable[Fact] = ()) -> None:
        self._slots: set[tuple[str, str]] = set()
        self._relations: set[tuple[str, str]] = set()
        self.add(facts)

    def add(self, facts: Iterable[Fact]) -> None:
        """Take in more facts."""
        for fact in facts:
            self._slots.add(fact.slot)
            if fact.relation is not None:
                self._relations.add((fact.slot[0], fact.relation))

    def __contains__(self, fact: Fact) -> bool:
        if fact.slot in self._slots:
            return True
        return fact.relation is not None and (fact.slot[0], fact.relation) in self._relations


class KeyMemory:
    """Keys of earlier facts by layer, in the coordinates of the editor's metric.

    When the same thing is edited again, the keys of the earlier edit leave: the old fact must not
    be protected against its own correction. The memory is a function of the batches alone, in
    order, so making it anew after an undo gives the same bits as never having made the edit.

    Args:
        metrics: G by layer.
        kept: False to keep none, for an edit that does not spare earlier facts.
        decay: what the weight of the keys that are there is multiplied by when more come.
    """

    def __init__(
        self, metrics: Mapping[int, Metric], kept: bool = True, decay: float = 1.0
    ) -> None:
        self._metrics, self._kept, self._decay = metrics, kept, decay
        self._facts: list[Fact] = []
        self.by_layer = {
            layer: EarlierKeys.none(metric.width, metric.device)
            for layer, metric in metrics.items()
        }

    def __len__(self) -> int:
        return len(self._facts)

    def make_room(self, facts: Sequence[Fact]) -> None:
        """Let go of the keys of earlier facts that say something else of the same thing."""
        corrected = Corrected(facts)
        kept = [index for index, fact in enumerate(self._facts) if fact not in corrected]
        if len(kept) < len(self._facts):
            self._facts = [self._facts[index] for index in kept]
            self.by_layer = {layer: keys.only(kept) for layer, keys in self.by_layer.items()}

    def add(self, facts: Sequence[Fact], keys: Mapping[int, Tensor]) -> None:
        """Take in the keys (d_in, n) of facts that have been written."""
        if not self._kept:
            return
        for layer, metric in self._metrics.items():
            own = keys[layer].to(metric.device)
            there = self.by_layer[layer].faded(self._decay)
            self.by_layer[layer] = there.joined(metric.half(own))
        self._facts += facts
