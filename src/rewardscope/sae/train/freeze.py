"""Baselines for SAEs: training in which the decoder or the encoder stays at, or near, its random
start. What a trained SAE finds is worth what it finds beyond these.

Source: arXiv 2602.14111 section 4.1: Frozen Decoder, Soft-Frozen Decoder and Frozen Encoder.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from torch import Tensor

# Shape legend: D width, F features.
FreezeName = Literal["none", "decoder", "soft-decoder", "encoder"]
_SHOWN: dict[FreezeName, str] = {
    "decoder": "frozen decoder: random directions; the encoder and biases are trained",
    "soft-decoder": "soft-frozen decoder: directions within a cosine of random ones of",
    "encoder": "frozen encoder: random; thresholds, biases and the decoder are trained",
}


@dataclass(frozen=True)
class Freeze:
    """What training leaves as it started. `cosine`: of each row of a soft-frozen decoder with its
    start, at least.
    """

    kind: FreezeName = "none"
    cosine: float = 0.8

    @property
    def weights(self) -> tuple[str, ...]:
        """The names of the weights that do not change."""
        frozen: dict[FreezeName, tuple[str, ...]] = {
            "decoder": ("W_dec_FD",),
            "encoder": ("W_enc_FD",),
        }
        return frozen.get(self.kind, ())

    def info(self) -> dict[str, str | float]:
        """Return what the saved SAE says of it, nothing of one that is trained as a whole."""
        if self.kind == "none":
            return {}
        return {"freeze": self.kind} | (
            {"freeze_cosine": self.cosine} if self.kind == "soft-decoder" else {}
        )


TRAINED_WHOLE = Freeze()


def shown(info: Mapping[str, Any]) -> str:
    """Return a line about what `Freeze.info` gave."""
    said = _SHOWN[info["freeze"]]
    return f"{said} {info['freeze_cosine']}" if "freeze_cosine" in info else said


def pull_back(rows_FD: "Tensor", start_FD: "Tensor", *, cosine: float) -> None:
    """Turn unit rows, in place, as little as brings them to a cosine with their unit start."""
    import torch

    cosine_F1 = torch.linalg.vecdot(rows_FD, start_FD)[:, None]
    sideways_FD = rows_FD - cosine_F1 * start_FD
    sideways_FD *= (1 - cosine**2) ** 0.5 / sideways_FD.norm(dim=1, keepdim=True).clamp_min(1e-12)
    torch.where(cosine_F1 < cosine, sideways_FD + cosine * start_FD, rows_FD, out=rows_FD)
