"""The Triton kernels without a GPU: interpreted against torch, and compiled for a GPU that need not
be there.
"""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("triton")

from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile

from rewardscope.sae.train import triton_kernels
from rewardscope.sae.train.sparse import TorchKernels, pick_kernels

TYPES = dict.fromkeys(("indices", "features", "starts", "bags"), "*i32") | dict.fromkeys(
    ("chunk", "width", "first_d"), "i32"
)
# all others point to float32
BLOCKS = {"TILE": 16, "PANEL": 128}


def test_interpreted_kernels_equal_torch() -> None:
    cases = Path(__file__).parent / "triton_cases.py"
    command = [sys.executable, "-m", "pytest", "--noconftest", "-p", "no:cacheprovider", str(cases)]
    env = os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    run = subprocess.run(
        command, cwd=Path(__file__).parents[3], env=env, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.skipif(
    os.environ.get("TRITON_INTERPRET") == "1", reason="interpreted kernels cannot be compiled"
)
@pytest.mark.parametrize("table", ["*fp32", "*bf16"])
@pytest.mark.parametrize("name", ["_bags", "_chunks", "_dots"])
def test_kernels_compile_for_an_h200_with_wide_loads(
    name: str, table: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    kernel = getattr(triton_kernels, name)
    signature = {
        argument: (TYPES | {"table": table}).get(argument, "*fp32") for argument in kernel.arg_names
    }
    at = {argument: (index,) for index, argument in enumerate(kernel.arg_names)}
    aligned = {
        at[argument]: [["tt.divisibility", 16]]
        for argument, kind in signature.items()
        if kind != "fp32" and argument not in BLOCKS
    }
    source = ASTSource(
        kernel,
        signature | dict.fromkeys(BLOCKS, "constexpr"),
        {at[key]: value for key, value in BLOCKS.items()},
        aligned,
    )
    binary = compile(source, target=GPUTarget("cuda", 90, 32))
    assert binary.asm["cubin"]
    assert "ld.global.v4" in binary.asm["ptx"], "16 bytes a thread"
    assert ".local" not in binary.asm["ptx"], "arrays in local memory"


def test_only_cuda_devices_with_triton_get_triton_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(pick_kernels(torch.device("cpu")), TorchKernels)
    assert isinstance(pick_kernels(torch.device("cuda")), triton_kernels.TritonKernels)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert isinstance(pick_kernels(torch.device("cuda")), TorchKernels)
