"""What tests of the capture share: hand-made items and small random decoders of each family."""

from dataclasses import dataclass
from typing import Any

import torch
from transformers import (
    LlamaConfig,
    LlamaModel,
    MistralConfig,
    MistralModel,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Qwen2Config,
    Qwen2Model,
)

from rewardscope.capturing.inputs import TraceInput
from rewardscope.prms import PrmAdapter
from rewardscope.records import Encoded, Trace
from rewardscope.tiny.tokenizer import build_tokenizer

LAYERS, WIDTH, VOCABULARY = 4, 32, 300
FAMILIES: dict[str, tuple[Any, Any]] = {
    "qwen2": (Qwen2Config, Qwen2Model),
    "llama": (LlamaConfig, LlamaModel),
    "mistral": (MistralConfig, MistralModel),
}


@dataclass
class BareSource:
    """A decoder without a head."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    n_layers: int = LAYERS
    window: int = 60
    adapter: PrmAdapter | None = None


def bare_source(family: str) -> BareSource:
    """Return a random decoder whose weights are large enough that its layers differ widely."""
    config_class, model_class = FAMILIES[family]
    config = config_class(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        intermediate_size=48,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
    )
    torch.manual_seed(0)
    model = model_class(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(mean=1.0 if parameter.ndim == 1 else 0.0, std=0.2)
    return BareSource(model, build_tokenizer(n_problems=5))


def item(
    ids: tuple[int, ...],
    ends: tuple[int, ...],
    positions: range | tuple[int, ...],
    *,
    problem: str = "p/0",
) -> TraceInput:
    trace = Trace(
        problem_id=problem,
        index=4,
        steps=("s",) * len(ends),
        scores=None,
        finish="eos",
        n_tokens=1,
        correct=True,
    )
    return TraceInput(problem, "p", trace, Encoded(input_ids=ids, step_ends=ends), positions, None)


def random_items(lengths: tuple[int, ...]) -> list[TraceInput]:
    """Return an item of each length; all its tokens are kept."""
    rng = torch.Generator().manual_seed(1)
    made = []
    for number, length in enumerate(lengths):
        ids = tuple(torch.randint(VOCABULARY, (length,), generator=rng).tolist())
        made.append(item(ids, (length - 1,), range(length), problem=f"p/{number}"))
    return made
