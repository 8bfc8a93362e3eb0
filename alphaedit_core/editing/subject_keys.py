"""Keys of facts: the inputs of the down-projections at the subject's last token.

A fact's key is a mean over the bare prompt and the prompts with a context in front (Meng et al.
2023, Eq. 19). As in the released code, the bare prompt weighs one half and the other prompts share
the other half; in the paper all weigh the same. Each layer's keys are read after the earlier layers
were updated. The recorded pass stays at the input of the next layer, so only the blocks after an
update run again. Rows end at the subject's last token, as later tokens cannot affect it in a causal
model.
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
    """Keys of n facts at one layer and the resulting outputs, float32 or better.

    Attributes:
        keys: one key per fact, (d_in, n): half the bare prompt's key, half the contexts' mean.
        state: output of the last edited block for the bare prompts, (n, hidden_size).
        prompt_keys: keys of the bare prompts, (d_in, n).
        mean: unweighted mean of the keys over a fact's prompts, (d_in, n).
        mlp: output of the last edited block's down-projection for the bare prompts, (n,
            hidden_size).
    """

    keys: Tensor
    state: Tensor
    prompt_keys: Tensor
    mean: Tensor
    mlp: Tensor


class LayerEnd(NamedTuple):
    """Outputs of the last edited block for the bare prompts of n facts, float32 or better.

    Attributes:
        state: output of the block, (n, hidden_size).
        mlp: output of its down-projection, (n, hidden_size).
    """

    state: Tensor
    mlp: Tensor


class SubjectStates:
    """Keys and outputs at the subjects' last tokens while the layers are updated in turn.

    Call :meth:`read` for each edited layer in ascending order, update that layer after each call,
    and call :meth:`end` last.

    Args:
        model: the model.
        requests: n tokenized facts.
        layers: indices of the edited blocks, ascending.
        plan: number of tokens per pass with gradients; passes here take four times as many.
        monitor: checked for cancellation between blocks.

    Raises:
        Canceled: if canceled.
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
        """Read a layer's keys and the last edited block's outputs on the current weights.

        Args:
            layer: index of the block; not below that of the last call.

        Raises:
            Canceled: if canceled.
            StructureError: if the last edited down-projection does not run once per token.
        """
        keys: list[Tensor] = []
        states: list[Tensor] = []
        outputs: list[Tensor] = []
        for group, recorded in zip(self._groups, self._passes, strict=True):
            last_tokens = self._reader(group)
            # The blocks before this layer are final, so advance the recorded pass to its input.
            steps = layer - recorded.start
            recorded.entry = proceed(
                self._model,
                recorded.entry,
                recorded.calls[:steps],
                recorded.start,
                self._monitor.check,
            )
            recorded.calls, recorded.start = recorded.calls[steps:], layer
            key_inputs: list[Tensor] = []
            tokens = recorded.entry.shape[0] * recorded.entry.shape[1]
            with tap(self._model.architecture.down_projections[layer], key_inputs.append, tokens):
                state, output = self._run(recorded)
            states.append(last_tokens(state))
            outputs.append(last_tokens(output))
            # OPT flattens rows and tokens: (rows * tokens, d_in).
            keys.append(last_tokens(key_inputs[0].view(*recorded.entry.shape[:2], -1)))
        row_keys = self._ordered(keys)  # (rows, d_in)
        return LayerReading(
            _columns(self._average(row_keys)),
            self._prompt_values(self._ordered(states)),
            _columns(self._prompt_values(row_keys)),
            _columns(self._mean(row_keys)),
            self._prompt_values(self._ordered(outputs)),
        )

    @torch.no_grad()
    def end(self) -> LayerEnd:
        """Read the last edited block's outputs on the current weights.

        Raises:
            Canceled: if canceled.
            StructureError: if the last edited down-projection does not run once per token.
        """
        states: list[Tensor] = []
        outputs: list[Tensor] = []
        for group, recorded in zip(self._groups, self._passes, strict=True):
            state, output = self._run(recorded)
            states.append(self._reader(group)(state))
            outputs.append(self._reader(group)(output))
        return LayerEnd(
            self._prompt_values(self._ordered(states)), self._prompt_values(self._ordered(outputs))
        )

    def _run(self, recorded: RecordedPass) -> tuple[Tensor, Tensor]:
        """Return the outputs of the last edited block and its MLP, (rows, tokens, hidden)."""
        with tap_output(self._model.architecture.down_projections[self._last]) as outputs:
            state = proceed(
                self._model, recorded.entry, recorded.calls, recorded.start, self._monitor.check
            )
        if len(outputs) != 1 or outputs[0].numel() != state.numel():
            raise StructureError(
                f"the down-projection of block {self._last} ran {len(outputs)} times in one pass "
                f"of {state.shape[0] * state.shape[1]} tokens; it must process each token once"
            )
        return state, outputs[0].view_as(state)

    def _reader(self, group: Tensor) -> Callable[[Tensor], Tensor]:
        """Return a function that takes each row's last real token from (rows, tokens, width)."""
        ends = self._ends[group].to(self._model.device)

        def last_tokens(values: Tensor) -> Tensor:
            rows = torch.arange(len(values), device=values.device)
            return values[rows, ends].to(torch.promote_types(values.dtype, torch.float32))

        return last_tokens

    def _ordered(self, pieces: list[Tensor]) -> Tensor:
        """Return the values of all groups in row order, (rows, width)."""
        stacked = torch.cat(pieces)
        result = torch.empty_like(stacked)
        result[torch.cat(self._groups).to(stacked.device)] = stacked
        return result

    def _prompt_values(self, values: Tensor) -> Tensor:
        """Return the values of the bare prompts, (n, width)."""
        starts, index = [], 0
        for request in self._requests:
            starts.append(index)
            index += len(request.rows)
        return values[starts]

    def _mean(self, values: Tensor) -> Tensor:
        """Return the unweighted mean over each fact's prompts, (n, width)."""
        means, index = [], 0
        for request in self._requests:
            means.append(values[index : index + len(request.rows)].mean(dim=0))
            index += len(request.rows)
        return torch.stack(means)

    def _average(self, values: Tensor) -> Tensor:
        """Return half the bare prompt's value plus half the contexts' mean, (n, width)."""
        means, index = [], 0
        for request in self._requests:
            own = values[index : index + len(request.rows)]
            index += len(request.rows)
            means.append(own[0] if len(own) == 1 else (own[0] + own[1:].mean(dim=0)) / 2)
        return torch.stack(means)


def _columns(values: Tensor) -> Tensor:
    """Return (n, width) as a contiguous copy, (width, n).

    This is the memory layout of a loaded session, which can affect the last bits of products.
    ``contiguous()`` would not copy a single column.
    """
    return values.T.clone(memory_format=torch.contiguous_format)
