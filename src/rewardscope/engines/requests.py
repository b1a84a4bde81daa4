"""What a server is asked of one sample, and under which name it has the model."""

import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rewardscope.engines.client import Client, ServerError
from rewardscope.errors import ConfigError
from rewardscope.log import get_logger
from rewardscope.paths import hub_name
from rewardscope.records import Completion


class Sampling(NamedTuple):
    """How all samples of a call are drawn."""

    stop: tuple[str, ...]
    temperature: float
    top_p: float
    top_k: int
    min_p: float
    max_tokens: int

    def body(self, seed: int) -> dict[str, Any]:
        """Return what every server is told."""
        cuts = {"top_k": self.top_k, "min_p": self.min_p}
        return {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "seed": seed,
            **{name: value for name, value in cuts.items() if value},
        }


class Sample(NamedTuple):
    prompt: Sequence[int]
    seed: int


def samples_of(prompts: Sequence[Sequence[int]], seeds: Sequence[int], n: int) -> list[Sample]:
    """Return the samples of all prompts, each with a seed of 31 bits."""
    return [
        Sample(prompt, int.from_bytes(_hash(f"{seed}|{sample}"), "big") >> 33)
        for prompt, seed in zip(prompts, seeds, strict=True)
        for sample in range(n)
    ]


def _hash(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=8).digest()


def grouped(done: list[Completion], *, samples: int, n: int) -> list[list[Completion]]:
    return [done[i : i + samples] * (n // samples) for i in range(0, len(done), samples)]


def served_model(client: Client, model: str) -> tuple[str, int]:
    """Return the name under which the server has the model, and its positions.

    Raises: ConfigError where it serves several others.
    """
    own = hub_name(model).id

    def read(told: Any) -> dict[str, int]:
        return {str(one["id"]): one.get("max_model_len") or sys.maxsize for one in told["data"]}

    try:
        known = client.get("/models", read)
    except ServerError as error:
        if "answers 404" not in str(error):
            raise
        return own, sys.maxsize  # it has no list
    if own in known:
        return own, known[own]
    if len(known) != 1:
        raise ConfigError(
            f"--model-name {own}: {client.base_url} serves {', '.join(sorted(known)) or 'nothing'}"
        )
    ((served, longest),) = known.items()
    if Path(own).name != Path(served).name:
        get_logger().warning(f"{client.base_url} serves {served} alone, taken for {own}")
    return served, longest
