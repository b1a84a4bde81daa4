"""Shared fixtures: small models with random weights, saved as a user would have them on disk."""

import os
import signal
from pathlib import Path

import pytest

# The models of the tests are so small that more threads only wait for each other; set before torch
# is imported, and for the processes that the tests start as well.
os.environ["OMP_NUM_THREADS"] = "1"

import torch
from transformers import Qwen2ForCausalLM

from rewardscope.tiny.policy import tiny_config
from rewardscope.tiny.tokenizer import build_tokenizer

torch.set_num_threads(1)
# A shell that runs the tests in the background has Ctrl-C ignored, by all their processes too.
signal.signal(signal.SIGINT, signal.default_int_handler)
pytest.register_assert_rewrite("tests.contract.engine_contract")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--real", action="store_true", help="run tests/real: a real model, which is fetched"
    )


@pytest.fixture(scope="session")
def tiny_random_policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a policy of 2 layers and width 64 with 256 positions.

    Its heads are 32 wide, the least that vLLM serves on a CPU. Its random weights are large enough
    that the best token leads clearly, so that rounding does not change greedy text.
    """
    folder = tmp_path_factory.mktemp("models") / "tiny-random"
    tokenizer = build_tokenizer(n_problems=50)
    config = tiny_config(tokenizer)
    for name, value in {
        "hidden_size": 64,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "layer_types": ["full_attention"] * 2,
        "max_position_embeddings": 256,
        "tie_word_embeddings": False,
        "initializer_range": 0.16,
    }.items():
        setattr(config, name, value)
    torch.manual_seed(0)
    Qwen2ForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
