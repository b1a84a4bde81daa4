"""Captured states, in memory or in a folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, get_args

import torch
from torch import Tensor

from rewardscope.api.models import Policy, Prm, whole_layers
from rewardscope.capturing.batches import ActBatch, stream_acts
from rewardscope.capturing.inputs import Pick, Positions, PrmEncoder, encode_traces
from rewardscope.errors import BadRecord, ConfigError, UnknownName
from rewardscope.records import SolvedProblem
from rewardscope.storage.acts import ActStore
from rewardscope.storage.rows import RowTable, join_rows

# Shape legend: N rows, D width.
_BATCH_TOKENS = {"cpu": 1024, "cuda": 16_384}


class Acts(NamedTuple):
    """Captured states and where they come from."""

    states: dict[int, Tensor]
    """For each layer the states [N, D], float32 on the CPU."""
    rows: RowTable
    """Where each of the N states comes from: problem, trace, step, token, reward, correct."""
    step_ends: list[tuple[int, ...]]
    """For each trace, by `rows.sequence_N`, the positions in its input where its steps end."""

    def layer(self, layer: int) -> Tensor:
        """Return the states [N, D] of a layer. Raises: UnknownName where it was not captured."""
        if layer not in self.states:
            raise UnknownName("captured layer", str(layer), [str(known) for known in self.states])
        return self.states[layer]


def capture(
    model: Prm | Policy,
    solved: Sequence[SolvedProblem],
    *,
    layers: Sequence[int],
    positions: Positions = "step-ends",
    sample: int = 64,
    seed: int = 0,
) -> Acts:
    """Return the states of traces at the kept positions, longest traces first.

    Of a PRM the scores are computed, and edits are not made; of a policy the states are those of
    what it generated, and there are no scores. `sample` tokens of each trace are kept where the
    positions are a sample. Raises: BadRecord where a trace cannot be encoded, with its name;
    UnknownName for a layer that the model does not have, or other positions; ConfigError where
    there is nothing to capture.
    """
    layers = whole_layers(layers)
    if positions not in get_args(Positions):
        raise UnknownName("positions", positions, get_args(Positions))
    if sample < 1 or not any(row.traces for row in solved):
        raise ConfigError("capture needs at least one trace, and a sample of at least one token")
    encoder = model.encoder if isinstance(model, Policy) else _prm_encoder(model)
    traces = [(row.problem, trace) for row in solved for trace in row.traces]
    found = encode_traces(
        traces, encoder=encoder, pick=Pick(positions, sample, seed), known_scores=False
    )
    for example in found.examples.values():
        raise BadRecord(example)
    source = model if isinstance(model, Policy) else model.scorer
    batches: list[ActBatch] = list(
        stream_acts(
            source,
            found.items,
            layers,
            dtype=torch.float32,
            batch_tokens=_BATCH_TOKENS[source.model.device.type],
        )
    )
    states = {layer: torch.cat([batch.acts[layer] for batch in batches]) for layer in layers}
    step_ends = [ends for batch in batches for ends in batch.step_ends]
    return Acts(states, join_rows([batch.rows for batch in batches]), step_ends)


def _prm_encoder(prm: Prm) -> PrmEncoder:
    scorer = prm.scorer
    return PrmEncoder(scorer.adapter, scorer.tokenizer, max_positions=scorer.max_positions)


def open_acts(folder: str | Path) -> ActStore:
    """Open a folder of save-acts: `rows`, `layer(l)`, `stream_layer(l)`, `sequences`.

    Raises: MissingInput where it is not finished; BadRecord where a shard is damaged.
    """
    return ActStore(Path(folder))
