"""A finished SAE of one layer: encode and decode raw activations. No training, no files."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rewardscope.errors import BadRecord
from rewardscope.sae.model.codes import Codes, decode, top_pre_activations

# Shape legend: N rows, D width, F features, K active features a row, E firings.
_PRE_ACTIVATIONS = 1 << 22  # at most this many are held at once: 16 MiB


@dataclass(frozen=True, kw_only=True)
class Sae:
    """The SAE of one layer, for raw activations in float32. `info` is the metadata of its cfg.json.

    What fires: with `k` the k largest pre-activations of a row, with `threshold_F` those above it
    (arXiv 2407.14435 eq. 3); exactly one is set, and what is not above 0 never fires. `activation`
    names what it was trained with: a BatchTopK SAE has a constant threshold, a plain ReLU one
    ("standard") a threshold of 0.
    """

    W_enc_DF: Tensor
    b_enc_F: Tensor
    W_dec_FD: Tensor
    b_dec_D: Tensor
    k: int | None = None
    threshold_F: Tensor | None = None
    activation: str = "topk"
    layer: int
    info: dict[str, Any]

    def __post_init__(self) -> None:
        assert (self.k is None) != (self.threshold_F is None), (self.k, self.threshold_F)

    @property
    def width(self) -> int:
        return len(self.b_dec_D)

    @property
    def n_features(self) -> int:
        return len(self.b_enc_F)

    @torch.no_grad()
    def encode(self, x_ND: Tensor) -> Codes:
        """Return the codes of raw activations; a value of 0 means that the feature did not fire.

        K is `k`, or with thresholds the largest number of features that fire on one of these rows,
        and at least 1.
        """
        centred_ND = x_ND - self.b_dec_D
        if self.threshold_F is not None:
            return _above(centred_ND, self.W_enc_DF, self.b_enc_F, self.threshold_F.clamp_min(0))
        assert self.k is not None
        top = top_pre_activations(centred_ND, self.W_enc_DF, self.b_enc_F, k=self.k)
        return Codes(top.values_NK.relu_(), top.indices_NK)

    @torch.no_grad()
    def decode(self, codes: Codes) -> Tensor:
        """Return the reconstruction [N, D] of raw activations."""
        return decode(codes, self.W_dec_FD) + self.b_dec_D

    @torch.no_grad()
    def reconstruct(self, x_ND: Tensor) -> Tensor:
        """Return the reconstruction [N, D] of raw activations [N, D]."""
        return self.decode(self.encode(x_ND))

    def to(self, device: torch.device) -> "Sae":
        """Return the same SAE with its weights on `device`."""
        threshold_F = None if self.threshold_F is None else self.threshold_F.to(device)
        weights = {
            name: getattr(self, name).to(device)
            for name in ("W_enc_DF", "b_enc_F", "W_dec_FD", "b_dec_D")
        }
        return dataclasses.replace(self, **weights, threshold_F=threshold_F)

    def check(self, *, layer: int, width: int, where: str) -> None:
        """Check that the SAE fits the layer and width of the activations of `where`.

        Raises: BadRecord.
        """
        if layer != self.layer:
            raise BadRecord(
                f"the SAE is of layer {self.layer}, the activations of {where} are of layer {layer}"
            )
        if width != self.width:
            raise BadRecord(
                f"the SAE of layer {layer} has width {self.width}, the activations of {where} have"
                f" {width}; was it another PRM?"
            )


def _above(x_ND: Tensor, W_enc_DF: Tensor, b_enc_F: Tensor, threshold_F: Tensor) -> Codes:
    """Return the pre-activations above their thresholds, a few rows at a time, padded with values
    of 0.
    """
    parts = []
    for chunk_ND in x_ND.split(max(1, _PRE_ACTIVATIONS // len(b_enc_F))):
        pre_NF = torch.addmm(b_enc_F, chunk_ND, W_enc_DF)
        row_E, feature_E = (pre_NF > threshold_F).nonzero(as_tuple=True)
        parts.append(
            (torch.bincount(row_E, minlength=len(chunk_ND)), feature_E, pre_NF[row_E, feature_E])
        )
    count_N, feature_E, value_E = (torch.cat(column) for column in zip(*parts, strict=True))
    row_E = torch.arange(len(count_N), device=x_ND.device).repeat_interleave(count_N)
    place_E = torch.arange(len(row_E), device=x_ND.device) - (count_N.cumsum(0) - count_N)[row_E]
    shape = (len(count_N), max(1, int(count_N.max())) if len(count_N) else 1)
    indices_NK = feature_E.new_zeros(shape)
    indices_NK[row_E, place_E] = feature_E
    values_NK = value_E.new_zeros(shape)
    values_NK[row_E, place_E] = value_E
    return Codes(values_NK, indices_NK)
