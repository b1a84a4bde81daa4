"""Score with vLLM's step pooling.

It encodes every input whole, and gives no hidden states: save-acts needs the hf scorer.
"""

# pyright: reportMissingImports=false
# vLLM is an optional extra, absent from the environment that is checked.

import os
from collections.abc import Sequence
from typing import final

import torch

from rewardscope.errors import ConfigError
from rewardscope.models.flops import flops_of
from rewardscope.models.load import load_config, load_tokenizer
from rewardscope.paths import hub_name
from rewardscope.prms import Beyond, find_adapter
from rewardscope.prms.qwen import QwenAdapter, step_tag_id
from rewardscope.prms.scorer import fitting
from rewardscope.records import Encoded

os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")  # read when vllm is imported

from vllm import LLM
from vllm.config import PoolerConfig
from vllm.inputs import TokensPrompt

_MEMORY = 0.4  # share of the GPU, so that a policy fits beside the PRM
_BATCHED_TOKENS = 8192  # tokens of one forward pass, at least


@final
class VllmScorer:
    """Score solutions with a PRM that vLLM serves natively: the Qwen2.5-Math-PRM family."""

    reuses = False

    def __init__(self, name: str, *, dtype: str, window: int | None, beyond: Beyond) -> None:
        self.adapter = find_adapter(name)
        if not isinstance(self.adapter, QwenAdapter):
            raise ConfigError(
                f"--prm-engine vllm does not serve the PRM family {self.adapter.family!r}; pass"
                " --prm-engine hf"
            )
        self.tokenizer = load_tokenizer(name)
        self.tokens_encoded = 0
        config, (hub_id, revision) = load_config(name), hub_name(name)
        if beyond == "score" or (window or 0) > config.max_position_embeddings:
            raise ConfigError(
                "--prm-engine vllm refuses inputs beyond the PRM's positions; pass --prm-engine hf"
                " to score there"
            )
        self.window: int = window or config.max_position_embeddings
        self.max_positions = self.window
        self.flops = flops_of(config)
        on_gpu = torch.cuda.is_available()
        self._llm = LLM(
            model=hub_id,
            revision=revision,
            tokenizer_revision=revision,
            runner="pooling",
            dtype="float32" if dtype == "auto" and not on_gpu else dtype,
            enforce_eager=not on_gpu,
            gpu_memory_utilization=_MEMORY,
            # Step pooling can neither take a prompt in chunks nor reuse a prefix, so one pass must
            # hold the longest input.
            max_model_len=self.max_positions,
            max_num_batched_tokens=max(self.max_positions, _BATCHED_TOKENS),
            enable_chunked_prefill=False,
            enable_prefix_caching=False,
            pooler_config=PoolerConfig(
                tok_pooling_type="STEP", step_tag_id=step_tag_id(self.tokenizer)
            ),
        )

    def encode(self, question: str, steps: Sequence[str]) -> Encoded:
        """Encode one solution. Raises: BadRecord; TooLong beyond `max_positions`."""
        return fitting(self.adapter.encode(self.tokenizer, question, steps), self.max_positions)

    def score(self, batch: Sequence[Encoded]) -> list[tuple[float, ...]]:
        """Return one score for each step of each input, in order."""
        prompts = [TokensPrompt(prompt_token_ids=list(encoded.input_ids)) for encoded in batch]
        outputs = (
            self._llm.encode(prompts, pooling_task="token_classify", use_tqdm=False)
            if prompts
            else []
        )
        self.tokens_encoded += sum(len(encoded.input_ids) for encoded in batch)
        scores = [tuple(output.outputs.data[:, 1].tolist()) for output in outputs]
        for encoded, row in zip(batch, scores, strict=True):
            assert len(row) == len(encoded.step_ends), (len(row), len(encoded.step_ends))
        return scores
