from pathlib import Path

import pytest
import torch
from transformers import Qwen2ForCausalLM
from transformers.utils import logging

from rewardscope.models.load import load_causal_lm, load_checked


@pytest.mark.parametrize("kind", ["policy", "prm"])
def test_loading_shows_no_bar(
    kind: str, tiny_random_policy: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    name, dtype = str(tiny_random_policy), torch.float32
    logging.enable_progress_bar()
    if kind == "policy":
        load_causal_lm(name, device=torch.device("cpu"), dtype=dtype)
    else:
        load_checked(Qwen2ForCausalLM, name, dtype=dtype)
    assert capfd.readouterr().err == ""
