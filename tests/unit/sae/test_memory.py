import platform
import resource
import subprocess
import sys

import pytest
import torch

from rewardscope.sae.train.memory import keep_freed_memory


def print_page_faults() -> None:
    """Print those of the sixth of six steps that make and free 6 tensors of 40 MiB."""
    keep_freed_memory()
    faults = 0
    for _ in range(6):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        temporaries = [torch.ones(10 * 2**20) for _ in range(6)]
        del temporaries
        faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    print(faults)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it speaks to glibc")
def test_memory_that_a_step_frees_is_there_for_the_next() -> None:
    code = "from tests.unit.sae.test_memory import print_page_faults; print_page_faults()"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(run.stdout) < 1000  # without it often 61,000, of 4 KiB each
