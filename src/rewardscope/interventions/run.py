"""Scores of a PRM under edits: many variants of one input, or of many, as rows of a batch."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from rewardscope.errors import ConfigError
from rewardscope.interventions import edits
from rewardscope.models.sites import Edit, Site, StateChange
from rewardscope.prms.scorer import HfScorer
from rewardscope.records import Encoded

# Shape legend: B batch (variants), T tokens, N positions that are changed, D width.
# shared tokens below which a pass of their own saves nothing
_WORTH_A_PASS = 32


class Intervention(NamedTuple):
    """One change of one variant: at these positions of its input."""

    site: Site
    positions: Sequence[int]
    change: StateChange


class Variant(NamedTuple):
    """An input and what is changed while it is scored, in order."""

    encoded: Encoded
    interventions: Sequence[Intervention] = ()


@torch.no_grad()
def scores_under(
    scorer: HfScorer, variants: Sequence[Variant], *, share: bool = False
) -> list[tuple[float, ...]]:
    """Return the step scores of each variant, in order.

    A change that several variants name, the same object, is called once for those of a batch. With
    `share`, variants of one input stand in one batch, and what comes before the first change is
    computed once; scores are then the same within rounding. Raises: as `models.forward.run`.
    """
    scores: list[tuple[float, ...]] = [()] * len(variants)
    for rows in batches_of(scorer, [variant.encoded for variant in variants], together=share):
        batch = [variants[index] for index in rows]
        passed = scorer.forward(
            [variant.encoded for variant in batch],
            edits=edits_of(batch),
            shared=_n_shared(batch) if share else 0,
        )
        for index, row_scores in zip(rows, passed.scores, strict=True):
            scores[index] = tuple(row_scores.tolist())
    return scores


def scores_from(
    scorer: HfScorer, variants: Sequence[Variant], plain: Sequence[Sequence[float]]
) -> list[tuple[float, ...]]:
    """Return the step scores of each variant as far from `plain`, its scores without changes, as
    passes of one shape with and without the changes are apart: exactly 0 where nothing is changed.
    """
    changed = scores_under(scorer, variants)
    before = scores_under(scorer, [Variant(variant.encoded) for variant in variants])
    return [
        tuple(score + (new - old) for score, new, old in zip(*rows, strict=True))
        for rows in zip(plain, changed, before, strict=True)
    ]


def edits_of(batch: Sequence[Variant]) -> list[Edit]:
    """Return the edits of a batch of variants, its rows; each keeps to its own row."""
    longest = max(len(variant.encoded.input_ids) for variant in batch)
    # the same change at the same place in the order of several rows is one edit of all of them
    masks: dict[tuple[int, Site, int], Tensor] = {}
    changes: dict[tuple[int, Site, int], StateChange] = {}
    for row, variant in enumerate(batch):
        for number, one in enumerate(variant.interventions):
            key = (number, one.site, id(one.change))
            mask_BT = masks.setdefault(key, torch.zeros(len(batch), longest, dtype=torch.bool))
            mask_BT[row, torch.as_tensor(one.positions, dtype=torch.long)] = True
            changes[key] = one.change
    order = sorted(masks, key=lambda key: key[0])
    return [Edit(key[1], masks[key], changes[key]) for key in order]


class Controls(NamedTuple):
    """Scores that show whether an intervention is sound."""

    plain: tuple[float, ...]
    """The input as it is."""
    unchanged: tuple[float, ...]
    """The hooks in place and nothing changed: equal to `plain`, bit for bit."""
    random: tuple[float, ...]
    """Each state moved as far as the change moves it, in a random direction."""


def controls(scorer: HfScorer, variant: Variant, *, seed: int) -> Controls:
    """Return the scores of a variant's controls."""
    idle = [one._replace(change=edits.nothing()) for one in variant.interventions]
    random = [
        one._replace(change=edits.random_of_like_norm(one.change, seed=seed + number))
        for number, one in enumerate(variant.interventions)
    ]
    # one by one: only passes of one shape are the same bit for bit
    rows = [variant._replace(interventions=some) for some in ((), idle, random)]
    return Controls(*(scores_under(scorer, [row])[0] for row in rows))


@torch.no_grad()
def full_patch(scorer: HfScorer, source: Encoded, target: Encoded, layer: int) -> Variant:
    """Return the target with all states after a block replaced by those of the source.

    At the last block its scores are the source's; at an earlier one too, since nothing else of the
    target is left. Raises: ConfigError where the inputs differ in length.
    """
    if len(source.input_ids) != len(target.input_ids):
        raise ConfigError(
            f"a full patch needs inputs of one length, not {len(source.input_ids)} and"
            f" {len(target.input_ids)} tokens"
        )
    site = Site(layer)
    states_TD = scorer.forward([source], watch=[site]).states[site][0]
    positions = range(len(target.input_ids))
    return Variant(target, [Intervention(site, positions, edits.replace(states_TD))])


def batches_of(
    scorer: HfScorer, inputs: Sequence[Encoded], *, together: bool = False
) -> Iterator[list[int]]:
    """Yield the indices of the inputs of each forward pass, those of like length side by side.

    With `together` equal inputs stand side by side too.
    """

    def place(index: int) -> tuple[int, tuple[int, ...]]:
        ids = inputs[index].input_ids
        return len(ids), ids if together else ()

    return scorer.batches(inputs, sorted(range(len(inputs)), key=place))


def _n_shared(batch: Sequence[Variant]) -> int:
    """Return how many first tokens all rows have in common and leave as they are."""
    if len(batch) < 2:
        return 0
    first = batch[0].encoded.input_ids
    n_common = min(_common(first, variant.encoded.input_ids) for variant in batch[1:])
    changed = (min(one.positions) for v in batch for one in v.interventions if len(one.positions))
    # at least one token must be left to go on with
    n_shared = min([n_common, *changed, min(len(v.encoded.input_ids) for v in batch) - 1])
    return n_shared if n_shared >= _WORTH_A_PASS else 0


def _common(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    return next(
        (i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b),
        min(len(one), len(other)),
    )
