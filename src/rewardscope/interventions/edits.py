"""Changes of states [N, D], one function for each kind; `models.forward` makes them where a mask
says.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from rewardscope.models.sites import StateChange

# Shape legend: N positions that are changed, D width, K directions or features, M source states.


def zero() -> StateChange:
    """Set states to zero."""
    return torch.zeros_like


def mean(mean_D: Tensor) -> StateChange:
    """Set states to a mean that was taken before."""
    return lambda x_ND: mean_D.to(x_ND).expand_as(x_ND)


def replace(states_ND: Tensor) -> StateChange:
    """Set states to others of the same number, in order: the patch of activation patching."""

    def change(x_ND: Tensor) -> Tensor:
        assert states_ND.shape == x_ND.shape, (states_ND.shape, x_ND.shape)
        return states_ND.to(x_ND)

    return change


def resample(source_MD: Tensor, *, seed: int) -> StateChange:
    """Set each state to one of the source states, drawn with replacement in the order of a call.

    Make one for each variant, so that its draws depend on no other.
    """

    def change(x_ND: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        drawn_N = torch.randint(len(source_MD), (len(x_ND),), generator=generator)
        return source_MD[drawn_N.to(source_MD.device)].to(x_ND)

    return change


def project_out(directions_KD: Tensor, *, centre_D: Tensor | None = None) -> StateChange:
    """Take off what of a state, or of its difference from a centre, lies in a span of directions.

    The directions need be neither of length 1 nor orthogonal.
    """
    basis_KD = _basis(directions_KD)

    def change(x_ND: Tensor) -> Tensor:
        basis = basis_KD.to(x_ND)
        offset_ND = x_ND if centre_D is None else x_ND - centre_D.to(x_ND)
        return x_ND - offset_ND @ basis.T @ basis

    return change


def add(direction_D: Tensor, *, scale: float = 1.0) -> StateChange:
    """Add `scale` times a direction."""
    return lambda x_ND: x_ND + scale * direction_D.to(x_ND)


def reconstruct(rebuild: StateChange, *, keep_error: Tensor | None = None) -> StateChange:
    """Set states to what an autoencoder makes of them.

    With `keep_error` [N, D], the error that it made of the original states is added back.
    """
    if keep_error is None:
        return rebuild
    return lambda x_ND: rebuild(x_ND) + keep_error.to(x_ND)


def scale_features(
    read: Callable[[Tensor], Tensor], directions_KD: Tensor, *, factor: float
) -> StateChange:
    """Multiply the activations [N, K] that `read` gives of features by a factor; 0 ablates them.

    Only what they write is changed, along their decoder directions: what the autoencoder does not
    rebuild stays in the state. Source: Marks et al. 2024, arXiv 2403.19647 (error terms).
    """
    return lambda x_ND: x_ND + (factor - 1) * (read(x_ND) @ directions_KD.to(x_ND))


def random_of_like_norm(change: StateChange, *, seed: int) -> StateChange:
    """Move each state as far as `change` does, in a direction drawn at random: its control.

    Make one for each variant, so that its draws depend on no other.
    """

    def moved(x_ND: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        random_ND = torch.randn(x_ND.shape, generator=generator).to(x_ND)
        length_N1 = (change(x_ND) - x_ND).norm(dim=-1, keepdim=True)
        return x_ND + random_ND / random_ND.norm(dim=-1, keepdim=True) * length_N1

    return moved


def nothing() -> StateChange:
    """Leave states as they are: the control that must change no bit of any score."""
    return torch.clone


def _basis(directions_KD: Tensor) -> Tensor:
    """Return an orthonormal basis of the span; directions that add nothing to it fall out."""
    _, sizes_K, basis_KD = torch.linalg.svd(directions_KD.double(), full_matrices=False)
    return basis_KD[sizes_K > sizes_K.max() * 1e-6]
