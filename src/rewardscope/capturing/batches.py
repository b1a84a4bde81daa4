"""A model's hidden states at the kept positions of traces, batch after batch, at the speed of its
forward pass.

Only the wanted blocks are looked at, the blocks above them do not run where nobody needs them, and
on a GPU the copies of one batch go to pinned memory while the next one is computed.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rewardscope.capturing.inputs import TraceInput, act_rows
from rewardscope.capturing.token_text import token_reader
from rewardscope.models.forward import padded_ids, run
from rewardscope.models.sites import Site
from rewardscope.prms import PrmAdapter
from rewardscope.prms.scorer import runs_within
from rewardscope.storage.rows import RowTable, join_rows

# Shape legend: B batch, T tokens, N rows, S step ends of a batch, D width.
WINDOW_TOKENS = 2**20  # traces are sorted by length within runs of about this many tokens
GROUP_TOKENS = 16_384  # padded tokens of the greatest batch


class StateSource(Protocol):
    """A model whose states are captured; without an adapter it gives no scores."""

    tokenizer: PreTrainedTokenizerBase
    n_layers: int
    window: int

    @property
    def model(self) -> PreTrainedModel: ...

    @property
    def adapter(self) -> PrmAdapter | None: ...


class ActBatch(NamedTuple):
    """Rows of one forward pass."""

    acts: dict[int, Tensor]
    """For each layer the states [N, D], on the CPU."""
    rows: RowTable
    """Where each of the N states comes from."""
    step_ends: list[tuple[int, ...]]
    """For each trace where its steps end; traces are in the order of `rows.sequence_N`."""


class KeptStates(NamedTuple):
    """What is kept of one forward pass."""

    items: Sequence[TraceInput]
    acts: dict[int, Tensor]
    """For each layer the states [N, D] on the CPU at the positions of the items, in their order."""
    scores: Sequence[tuple[float, ...] | None]
    """The scores of each item; None where there is neither a known one nor a PRM."""


def stream_acts(
    source: StateSource,
    items: Iterable[TraceInput],
    layers: Sequence[int],
    *,
    dtype: torch.dtype,
    batch_tokens: int,
) -> Iterator[ActBatch]:
    """Yield the rows that `save-acts` would write, in its order, without a disk.

    Traces are taken in runs of about a million tokens, the longest of a run first, so the order
    depends on `items` alone. `batch_tokens` bounds the padded tokens of a forward pass.
    """
    read, n_traces = token_reader(source.tokenizer), 0
    for captured in stream_batches(source, items, layers, dtype=dtype, batch_tokens=batch_tokens):
        rows: list[RowTable] = []
        for item, scores in zip(captured.items, captured.scores, strict=True):
            texts = read(item.encoded.input_ids)
            rows.append(act_rows(item, scores, texts, window=source.window, sequence=n_traces))
            n_traces += 1
        ends = [item.encoded.step_ends for item in captured.items]
        yield ActBatch(captured.acts, join_rows(rows), ends)


def stream_batches(
    source: StateSource,
    items: Iterable[TraceInput],
    layers: Sequence[int],
    *,
    dtype: torch.dtype,
    batch_tokens: int,
) -> Iterator[KeptStates]:
    """Yield what each forward pass of `stream_acts` gives, without the rows' records."""
    batches = (
        batch
        for group in plan_groups(items, rows=1)
        for batch in plan_batches(group, batch_tokens=batch_tokens)
    )
    return capture_batches(source, batches, layers, dtype=dtype)


def plan_groups(items: Iterable[TraceInput], *, rows: int) -> Iterator[list[TraceInput]]:
    """Yield runs of traces of like length: as many as have at most `rows` rows, or `GROUP_TOKENS`
    padded tokens if that is more.
    """
    for window in _windows(items):
        group: list[TraceInput] = []
        filled = 0
        for item in sorted(window, key=lambda item: -len(item.encoded.input_ids)):
            padded = len((group or [item])[0].encoded.input_ids) * (len(group) + 1)
            if group and filled + len(item.positions) > rows and padded > GROUP_TOKENS:
                yield group
                group, filled = [], 0
            group.append(item)
            filled += len(item.positions)
        yield group


def _windows(items: Iterable[TraceInput]) -> Iterator[list[TraceInput]]:
    window: list[TraceInput] = []
    tokens = 0
    for item in items:
        window.append(item)
        tokens += len(item.encoded.input_ids)
        if tokens >= WINDOW_TOKENS:
            yield window
            window, tokens = [], 0
    if window:
        yield window


def plan_batches(group: Sequence[TraceInput], *, batch_tokens: int) -> Iterator[list[TraceInput]]:
    """Cut a run of traces into batches of at most `batch_tokens` padded tokens, or of one trace."""
    for indices in runs_within(
        batch_tokens, [len(item.encoded.input_ids) for item in group], range(len(group))
    ):
        yield [group[index] for index in indices]


def capture_batches(
    source: StateSource,
    batches: Iterable[Sequence[TraceInput]],
    layers: Sequence[int],
    *,
    dtype: torch.dtype,
) -> Iterator[KeptStates]:
    """Run batches and yield what each gave, in order; on a GPU one batch is computed ahead of the
    one that is yielded.

    Scores that the items do not know are read from the states after the last block, as the scorer
    reads them.
    Raises: UnknownName for a layer that the model does not have.
    """
    device = source.model.device
    ahead, outbox = (1, _Outbox(device)) if device.type == "cuda" else (0, None)
    flying: deque[_Pass] = deque()
    for batch in batches:
        flying.append(_run(source, batch, layers, dtype=dtype, outbox=outbox))
        if len(flying) > ahead:
            yield flying.popleft().land()
    while flying:
        yield flying.popleft().land()


class _Pass(NamedTuple):
    """A forward pass whose results may still be on their way to the CPU."""

    items: Sequence[TraceInput]
    acts: dict[int, Tensor]
    scores_S: Tensor | None
    arrived: torch.Event | None

    def land(self) -> KeptStates:
        if self.arrived:
            self.arrived.synchronize()
        known = [item.scores for item in self.items]
        if self.scores_S is None:
            return KeptStates(self.items, self.acts, known)
        computed = torch.split(self.scores_S, [len(item.encoded.step_ends) for item in self.items])
        return KeptStates(
            self.items,
            self.acts,
            [old or tuple(new.tolist()) for old, new in zip(known, computed, strict=True)],
        )


@torch.no_grad()
def _run(
    source: StateSource,
    items: Sequence[TraceInput],
    layers: Sequence[int],
    *,
    dtype: torch.dtype,
    outbox: "_Outbox | None",
) -> _Pass:
    """Run one batch and send off what is kept."""
    ids_BT = padded_ids([item.encoded for item in items])
    longest, last, device = ids_BT.shape[1], source.n_layers - 1, source.model.device
    kept_N = torch.tensor(
        [row * longest + position for row, item in enumerate(items) for position in item.positions]
    )
    ends_S = torch.tensor(
        [row * longest + end for row, item in enumerate(items) for end in item.encoded.step_ends]
    )
    ids_BT, kept_N, ends_S = (
        tensor.to(device) if outbox is None else outbox.bring(tensor)
        for tensor in (ids_BT, kept_N, ends_S)
    )
    final: list[Tensor] = []

    def keep(layer: int, states_BTD: Tensor) -> Tensor:
        if layer == last and adapter is not None:
            final.append(states_BTD.flatten(0, 1).index_select(0, ends_S))
        if layer not in layers:
            return states_BTD[:0]
        return states_BTD.flatten(0, 1).index_select(0, kept_N).to(dtype)

    adapter = source.adapter if any(item.scores is None for item in items) else None
    wanted = sorted({*layers, last} if adapter else {*layers})
    picks = {Site(layer): partial(keep, layer) for layer in wanted}
    states = run(source.model, ids_BT, watch=picks).states
    acts = {layer: states[Site(layer)] for layer in layers}
    scores_S = adapter.read_out(source.model, final[0]) if adapter else None
    if outbox is None:
        return _Pass(items, acts, scores_S, None)
    return outbox.send(items, acts, scores_S)


class _Outbox:
    """Copies from a GPU to pinned memory on a stream of their own."""

    def __init__(self, device: torch.device) -> None:
        self._device, self._stream = device, torch.cuda.Stream(device)

    def bring(self, tensor: Tensor) -> Tensor:
        """Copy a CPU tensor to the GPU without waiting for it."""
        return tensor.pin_memory().to(self._device, non_blocking=True)

    def send(
        self, items: Sequence[TraceInput], acts: dict[int, Tensor], scores_S: Tensor | None
    ) -> _Pass:
        """Start the copies of what the current stream is computing."""
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            copies = {layer: self._copy(acts_ND) for layer, acts_ND in acts.items()}
            scores = None if scores_S is None else self._copy(scores_S)
            arrived = self._stream.record_event()
        return _Pass(items, copies, scores, arrived)

    def _copy(self, tensor: Tensor) -> Tensor:
        host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        host.copy_(tensor, non_blocking=True)
        tensor.record_stream(self._stream)
        return host
