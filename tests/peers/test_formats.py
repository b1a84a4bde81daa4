"""SAELens, sparsify and dictionary_learning themselves read what we write, and we read what they
write, with the same outputs.

Skipped where their environment is not there; `benchmarks/peers/make_venvs.sh` makes it.
"""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from rewardscope.sae.formats import FormatName
from rewardscope.sae.model.checkpoint import load_sae, save_sae
from rewardscope.sae.model.inference import Sae

PROJECT = Path(__file__).parents[2]
PYTHON = PROJECT / ".peers" / "bin" / "python"
pytestmark = pytest.mark.skipif(not PYTHON.is_file(), reason="no environment of the peers")
LIBRARIES: dict[FormatName, str] = {
    "saelens": "saelens",
    "sparsify": "sparsify",
    "dictionary-learning": "dictionary_learning",
}
THEIRS = [
    *(("saelens", kind) for kind in ("topk", "batchtopk", "jumprelu", "standard", "gated")),
    ("sparsify", "topk"),
    *(("dictionary-learning", f"{kind}AutoEncoder") for kind in ("", "Gated", "JumpRelu")),
    *(
        ("dictionary-learning", kind)
        for kind in ("AutoEncoderNew", "AutoEncoderTopK", "BatchTopKSAE", "MatryoshkaBatchTopKSAE")
    ),
]
OURS: list[tuple[FormatName, str]] = [
    *(("saelens", activation) for activation in ("topk", "batchtopk", "jumprelu", "matryoshka")),
    *(("dictionary-learning", activation) for activation in ("topk", "batchtopk", "jumprelu")),
    ("sparsify", "topk"),
]
D, F, K = 16, 64, 5


def our_sae(activation: str) -> Sae:
    random = torch.Generator().manual_seed(2)
    threshold_F = {
        "batchtopk": torch.full((F,), 0.8),
        "jumprelu": torch.rand(F, generator=random),
    }.get(activation)
    weights = [torch.randn(shape, generator=random) * 0.5 for shape in ((D, F), (F,), (F, D), (D,))]
    return Sae(
        W_enc_DF=weights[0],
        b_enc_F=weights[1],
        W_dec_FD=weights[2],
        b_dec_D=weights[3],
        k=K if threshold_F is None else None,
        threshold_F=threshold_F,
        activation=activation,
        layer=7,
        info={"prm": "m", "k": K},
    )


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with x.npy, our checkpoints and theirs, and what the libraries made of x with
    each.
    """
    base = tmp_path_factory.mktemp("peers")
    np.save(base / "x.npy", np.random.default_rng(0).normal(size=(200, D)).astype(np.float32) * 2)
    jobs = []
    for layout, activation in OURS:
        save_sae(
            base / f"ours-{layout}-{activation}" / "layers.7", our_sae(activation), layout=layout
        )
        jobs.append(job("load", layout, activation, f"ours-{layout}-{activation}"))
    jobs += [job("save", layout, kind, f"theirs-{layout}-{kind}") for layout, kind in THEIRS]
    (base / "jobs.json").write_text(json.dumps(jobs))
    env = {**os.environ, "OMP_NUM_THREADS": "1", "WANDB_MODE": "disabled", "HF_HUB_OFFLINE": "1"}
    for name in ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE"):
        env.pop(name, None)
    command = [PYTHON, Path(__file__).with_name("peer.py"), base]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env, cwd=base)
    assert done.returncode == 0, done.stderr[-3000:]
    return base


def job(action: str, layout: FormatName, kind: str, name: str) -> dict[str, str]:
    return {
        "action": action,
        "library": LIBRARIES[layout],
        "kind": kind,
        "folder": f"{name}/layers.7",
        "out": f"{name}.npy",
    }


def assert_same(ours: torch.Tensor, theirs: Path) -> None:
    """The largest difference is at most 1e-6 of the largest output: float32 adds up in another
    order.
    """
    expected = torch.from_numpy(np.load(theirs))
    assert float((ours - expected).abs().max()) <= 1e-6 * float(expected.abs().max())


@pytest.mark.parametrize(("layout", "activation"), OURS)
def test_the_library_reads_ours_with_the_same_outputs(
    layout: FormatName, activation: str, asked: Path
) -> None:
    x_ND = torch.from_numpy(np.load(asked / "x.npy"))
    assert_same(our_sae(activation).reconstruct(x_ND), asked / f"ours-{layout}-{activation}.npy")


@pytest.mark.parametrize(("layout", "kind"), THEIRS)
def test_we_read_the_librarys_own_with_the_same_outputs(
    layout: FormatName, kind: str, asked: Path
) -> None:
    x_ND = torch.from_numpy(np.load(asked / "x.npy"))
    loaded = load_sae(asked / f"theirs-{layout}-{kind}" / "layers.7", device=torch.device("cpu"))
    assert loaded.layer == 7
    assert 0 < (loaded.encode(x_ND).values_NK > 0).float().sum(dim=1).mean() < F
    assert_same(loaded.reconstruct(x_ND), asked / f"theirs-{layout}-{kind}.npy")
