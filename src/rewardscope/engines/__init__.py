"""Engines generate text from a policy. One contract, whatever runs below."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

from rewardscope.errors import ConfigError
from rewardscope.records import Completion

if TYPE_CHECKING:
    # not loaded, so that stages can name the engines
    from transformers import PreTrainedTokenizerBase

    from rewardscope.models.flops import Flops

EngineName = Literal["auto", "vllm", "hf", "server"]


@dataclass(frozen=True, kw_only=True)
class Server:
    """Where a policy is served, and how it is asked: `at_once` requests in flight, each of at most
    `timeout` seconds.
    """

    base_url: str
    api: Literal["completions", "chat"]
    at_once: int
    timeout: float
    api_key: str | None = field(default=None, repr=False)


class Engine(Protocol):
    """Generate completions; the tokenizer is the policy's own."""

    tokenizer: PreTrainedTokenizerBase
    max_positions: int
    flops: Flops

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        n: int,
        stop: tuple[str, ...],
        temperature: float,
        top_p: float,
        max_tokens: int,
        seeds: Sequence[int],
        top_k: int = 0,
        min_p: float = 0.0,
        reuse: bool = False,
    ) -> list[list[Completion]]:
        """Return `n` completions for each prompt, in order.

        `prompts` are token ids (so nothing is tokenised twice). Temperature 0 is greedy; else
        tokens are cut by `min_p`, then `top_k` (0: not), then `top_p`. Generation
        ends with the token that completes a stop string; that token is kept whole. An end token
        ends it too and is not kept. `seeds[i]` (0 or more) fixes the samples of prompt i whatever
        else is in the batch, and sample j whatever `n` is. With `reuse`, what was computed is kept
        for later calls that continue these texts. A prompt and what is generated together never
        exceed `max_positions`.
        Raises: TooLong where a prompt alone fills the positions.
        """
        ...


def choose_engine(engine: EngineName, device: str = "auto") -> Literal["vllm", "hf", "server"]:
    """Resolve `auto`: vllm where it is installed and a GPU is there and wanted, else hf.

    Raises: ConfigError.
    """
    if engine == "server":
        return engine
    import importlib.util

    import torch

    installed = importlib.util.find_spec("vllm") is not None
    if engine == "vllm" and not installed:
        raise ConfigError(
            "--engine vllm: vllm is not installed; uv sync --extra vllm, or pass --engine hf"
        )
    if engine == "auto":
        wanted = installed and device in ("auto", "cuda") and torch.cuda.is_available()
        return "vllm" if wanted else "hf"
    return engine


def load_engine(
    model: str,
    *,
    engine: EngineName = "auto",
    device: str = "auto",
    dtype: str = "auto",
    gpu_share: float = 0.9,
    tensor_parallel: int = 1,
    server: Server | None = None,
) -> Engine:
    """Load a policy from a hub id or a local folder, or reach it behind a `server`; vllm takes
    `gpu_share` of the memory of `tensor_parallel` GPUs.

    Raises: MissingInput, ConfigError, ServerError.
    """
    if server is not None:
        from rewardscope.engines.server import load_server_engine

        return load_server_engine(model, server)
    if choose_engine(engine, device) == "vllm":
        from rewardscope.engines.vllm import VllmEngine

        return VllmEngine(
            model, device=device, dtype=dtype, gpu_share=gpu_share, tensor_parallel=tensor_parallel
        )
    from rewardscope.engines.hf import HfEngine

    return HfEngine(model, device=device, dtype=dtype)
