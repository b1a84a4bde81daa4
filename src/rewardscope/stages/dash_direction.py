"""The reward direction of the PRM behind states, for the pages of `dash`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rewardscope.errors import ConfigError
from rewardscope.paths import slug
from rewardscope.stage.inputs import cached_revision

if TYPE_CHECKING:
    import numpy as np

    from rewardscope.sae.model.inference import Sae

NO_PRM = "none"


class Direction(NamedTuple):
    """The direction in which the residual stream raises the score, or why there is none."""

    prm: str | None
    unit_D: "np.ndarray | None"
    why_not: str | None


def choose_prm(asked: str | None, of_states: Sequence[str | None]) -> tuple[str | None, str | None]:
    """Return the PRM whose head is read, or None and why.

    It is the one that is asked for, or that of the states where it is on this machine: nothing is
    downloaded that nobody asked for.
    """
    if asked == NO_PRM:
        return None, f"--prm {NO_PRM} was asked for"
    if asked is not None:
        return asked, None
    named = set(of_states)
    if named == {None}:
        return None, "the states name no PRM; pass --prm"
    if len(named) > 1:
        return None, "the states are of several models; pass --prm"
    (prm,) = named
    assert prm is not None
    if not Path(prm).is_dir() and cached_revision(prm) is None:
        return None, f"{slug(prm)} is not on this machine; pass --prm to load it"
    return prm, None


def read_direction(prm: str | None, why_not: str | None) -> Direction:
    """Load the PRM's head, if it is linear, and return its direction. Raises: PipelineError."""
    if prm is None:
        return Direction(None, None, why_not)
    import torch

    from rewardscope.models.device import pick_dtype
    from rewardscope.prms import find_adapter

    adapter = find_adapter(prm)
    if not adapter.linear_head:
        return Direction(
            prm, None, f"the head of {slug(prm)} is not linear: its direction differs by state"
        )
    cpu = torch.device("cpu")
    found_D = adapter.direction(adapter.load(prm, device=cpu, dtype=pick_dtype(cpu)))
    assert found_D is not None, prm
    return Direction(prm, (found_D / found_D.norm()).numpy(), None)


def cosines(direction: Direction, sae: "Sae") -> "np.ndarray | None":
    """Return the cosine [F] of each feature's decoder direction with the reward direction; 0 for a
    feature without one. None where there is no reward direction.

    Raises: ConfigError where the PRM is of another width.
    """
    if direction.unit_D is None:
        return None
    if len(direction.unit_D) != sae.width:
        raise ConfigError(
            f"--prm {direction.prm}: its states have width {len(direction.unit_D)}, those of the"
            f" SAE {sae.width}"
        )
    W_dec_FD = sae.W_dec_FD.float().cpu()
    norm_F = W_dec_FD.norm(dim=1).clamp_min(1e-30)
    return (W_dec_FD.numpy() @ direction.unit_D) / norm_F.numpy()
