"""Keys of facts: what the down-projections read at the subject's last token.

A fact's key is an average over the bare prompt and the prompts with a context in front (Meng et al.
2023, MEMIT, Eq. 19). There all weigh alike; here, as in the released code, the bare prompt weighs
one half and the others share the other half. Keys are measured layer by layer on the model as the
layers before have changed it, so one pass is kept at the input of the layer that comes next and
only the blocks after a change are run again. Rows end at the subject's last token: in a causal
model nothing later can matter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from alphaedit_core.errors import StructureError
from alphaedit_core.model.batch_planning import BatchPlan
from alphaedit_core.model.editable_model import EditableModel
from alphaedit_core.model.forward import (
    RecordedPass,
    by_length,
    pad_rows,
    proceed,
    record,
    tap,
    tap_output,
)
from alphaedit_core.model.tokenization import TokenizedFact
from alphaedit_core.progress import Monitor


class LayerReading(NamedTuple):
    """What is read at one layer, float32 or better.

    Attributes:
        keys: one key per fact, (d_in, n): one half the bare prompt's, one half the contexts'.
        state: output of the last edited block for the bare prompts, (n, hidden_size).
        prompt_keys: keys of the bare prompts alone, (d_in, n).
        mean: mean of all prompts' keys, each weighing alike, (d_in, n).
        mlp: output of the last edited block's down-projection for the bare prompts.
    """

    keys: Tensor
    state: Tensor
    prompt_keys: Tensor
    mean: Tensor
    mlp: Tensor


class LayerEnd(NamedTuple):
    """What the last edited block puts out for the bare prompts, (n, hidden_size).

    Attributes:
        state: the block's output.
        mlp: its down-projection's.
    """

    state: Tensor
    mlp: Tensor


class SubjectStates:
    """Keys and states at the subjects' last tokens while one layer after another is changed.

    Ask :meth:`read` for the edited layers in ascending order, changing the model between the calls,
    and at last for :meth:`end`.

    Args:
        model: the model.
        requests: the facts as tokens, n of them.
        layers: the edited blocks, ascending.
        plan: how many tokens go through the blocks together (four times as many as with gradients).
        monitor: asked between blocks whether to stop.
    """

    def __init__(
        self,
        model: EditableModel,
        requests: Sequence[TokenizedFact],
        layers: Sequence[int],
        plan: BatchPlan,
        monitor: Monitor,
    ) -> None:
        self._model, self._requests, self._monitor = model, requests, monitor
        self._last = layers[-1]
        self._rows = [row for request in requests for row in request.rows]
        lengths = [row.subject + 1 for row in self._rows]
        self._groups = [torch.tensor(group) for group in by_length(lengths, 4 * plan.tokens)]
        self._ends = torch.tensor(lengths) - 1
        self._passes: list[RecordedPass] = []
        with torch.no_grad():
            for group in self._groups:
                monitor.check()
                ids = [self._rows[i].ids[: lengths[i]] for i in group.tolist()]
                self._passes.append(
                    record(model, pad_rows(ids, model.device), layers[0], self._last + 1)
                )

    @torch.no_grad()
    def read(self, layer: int) -> LayerReading:
        """Keys at a layer and what they lead to, on the model as it is now."""
        keys: list[Tensor] = []
        states: list[Tensor] = []
        outputs: list[Tensor] = []
        for group, recording in zip(self._groups, self._passes, strict=True):
            at_end = self._reader(group)
            # The blocks before this layer will not change any more: keep the pass at its input.
            steps = layer - recording.start
            recording.entry = proceed(
                self._model,
                recording.entry,
                recording.calls[:steps],
                recording.start,
                self._monitor.check,
            )
            recording.calls, recording.start = recording.calls[steps:], layer
            seen: list[Tensor] = []
            tokens = recording.entry.shape[0] * recording.entry.shape[1]
            with tap(self._model.architecture.down_projections[layer], seen.append, tokens):
                state, output = self._run(recording)
            states.append(at_end(state))
            outputs.append(at_end(output))
            # Some architectures hand over (rows * tokens, d_in): OPT.
            keys.append(at_end(seen[0].view(*recording.entry.shape[:2], -1)))
        own = self._ordered(keys)
        return LayerReading(
            _columns(self._average(own)),
            self._bare(self._ordered(states)),
            _columns(self._bare(own)),
            _columns(self._mean(own)),
            self._bare(self._ordered(outputs)),
        )

    @torch.no_grad()
    def end(self) -> LayerEnd:
        """What the last edited block and its MLP put out for the bare prompts, once more."""
        states: list[Tensor] = []
        outputs: list[Tensor] = []
        for group, recording in zip(self._groups, self._passes, strict=True):
            state, output = self._run(recording)
            states.append(self._reader(group)(state))
            outputs.append(self._reader(group)(output))
        return LayerEnd(self._bare(self._ordered(states)), self._bare(self._ordered(outputs)))

    def _run(self, recording: RecordedPass) -> tuple[Tensor, Tensor]:
        """Outputs of the last edited block and of its down-projection, (rows, tokens, hidden)."""
        with tap_output(self._model.architecture.down_projections[self._last]) as seen:
            state = proceed(
                self._model, recording.entry, recording.calls, recording.start, self._monitor.check
            )
        if len(seen) != 1 or seen[0].numel() != state.numel():
            raise StructureError(
                f"the down-projection of block {self._last} ran {len(seen)} times in one pass of "
                f"{state.shape[0] * state.shape[1]} tokens; it is to read each token once"
            )
        return state, seen[0].view_as(state)

    def _reader(self, group: Tensor) -> Callable[[Tensor], Tensor]:
        """Takes the value at each row's last real token out of (rows, tokens, width)."""
        ends = self._ends[group].to(self._model.device)

        def at_end(values: Tensor) -> Tensor:
            rows = torch.arange(len(values), device=values.device)
            return values[rows, ends].to(torch.promote_types(values.dtype, torch.float32))

        return at_end

    def _ordered(self, pieces: list[Tensor]) -> Tensor:
        """Values of all groups in the order of the rows, (rows, width)."""
        joined = torch.cat(pieces)
        result = torch.empty_like(joined)
        result[torch.cat(self._groups).to(joined.device)] = joined
        return result

    def _bare(self, values: Tensor) -> Tensor:
        starts, index = [], 0
        for request in self._requests:
            starts.append(index)
            index += len(request.rows)
        return values[starts]

    def _mean(self, values: Tensor) -> Tensor:
        """All prompts of a fact alike, (n, width)."""
        means, index = [], 0
        for request in self._requests:
            means.append(values[index : index + len(request.rows)].mean(dim=0))
            index += len(request.rows)
        return torch.stack(means)

    def _average(self, values: Tensor) -> Tensor:
        """One half for the bare prompt, the other half shared by the contexts, (n, width)."""
        means, index = [], 0
        for request in self._requests:
            own = values[index : index + len(request.rows)]
            index += len(request.rows)
            means.append(own[0] if len(own) == 1 else (own[0] + own[1:].mean(dim=0)) / 2)
        return torch.stack(means)


def _columns(values: Tensor) -> Tensor:
    """(n, width) as (width, n).

    Laid out as they are when a session is loaded: the last bits of later products can depend on how
    a matrix lies in memory (for contiguous() one column lies well in any way).
    """
    return values.T.clone(memory_format=torch.contiguous_format)
