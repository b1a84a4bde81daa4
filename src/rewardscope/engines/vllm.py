"""Generate with vLLM.

What it returns is put in the same form as the hf engine's, so that results can be compared.
"""

# pyright: reportMissingImports=false
# vLLM is an optional extra, absent from the environment that is checked.

import hashlib
import os
from collections.abc import Sequence
from typing import final

import torch
from transformers import PreTrainedTokenizerBase

from rewardscope.engines.completions import Detokenizer, check_prompts, end_token_ids
from rewardscope.errors import ConfigError
from rewardscope.models.flops import flops_of
from rewardscope.models.load import load_tokenizer
from rewardscope.paths import hub_name
from rewardscope.problems.thinking import MARKS
from rewardscope.records import Completion, Finish

os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")  # read when vllm is imported

from vllm import LLM, SamplingParams
from vllm.inputs import TokensPrompt
from vllm.outputs import CompletionOutput


@final
class VllmEngine:
    """The engine for GPUs. Without one it runs on the CPU, uncompiled and in float32, for tests."""

    def __init__(
        self, model: str, *, device: str, dtype: str, gpu_share: float, tensor_parallel: int
    ) -> None:
        on_gpu = torch.cuda.is_available()
        _check_device(device, on_gpu=on_gpu)
        self.tokenizer: PreTrainedTokenizerBase = load_tokenizer(model)
        hub_id, revision = hub_name(model)
        self._llm = LLM(
            model=hub_id,
            revision=revision,
            tokenizer_revision=revision,
            seed=0,
            dtype="float32" if dtype == "auto" and not on_gpu else dtype,
            tensor_parallel_size=tensor_parallel,
            enforce_eager=not on_gpu,
            # on the CPU, vLLM 0.32 cannot rewind the generator of a request read in pieces
            enable_chunked_prefill=on_gpu,
            gpu_memory_utilization=gpu_share,
        )
        self.max_positions: int = self._llm.model_config.max_model_len
        self.flops = flops_of(self._llm.model_config.hf_config)
        self._detokenizer = Detokenizer(self.tokenizer)
        self._ends = end_token_ids(model, self.tokenizer)

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
        """Return `n` completions for each prompt, in order; see `Engine.generate`. vLLM reuses
        prefixes whether asked or not.
        """
        del reuse
        check_prompts(prompts, max_positions=self.max_positions)
        samples = n if temperature > 0 else 1  # greedy samples are all the same
        parameters = [
            SamplingParams(
                n=samples,
                temperature=temperature,
                top_p=top_p,
                top_k=top_k,
                min_p=min_p,
                max_tokens=max_tokens,
                seed=_spread(seed),
                stop=list(stop),
                include_stop_str_in_output=True,
                stop_token_ids=sorted(self._ends),
                skip_special_tokens=not any(mark in text for mark in MARKS for text in stop),
            )
            for seed in seeds
        ]
        inputs = [TokensPrompt(prompt_token_ids=list(prompt)) for prompt in prompts]
        outputs = self._llm.generate(inputs, parameters, use_tqdm=False) if inputs else []
        return [
            [self._completion(prompt, sample) for sample in output.outputs] * (n // samples)
            for prompt, output in zip(prompts, outputs, strict=True)
        ]

    def _completion(self, prompt: Sequence[int], output: CompletionOutput) -> Completion:
        """Translate; the text is decoded here, as the hf engine does it, and an end token is taken
        off.
        """
        ids, finish = list(output.token_ids), _finish(output)
        if finish == "eos":
            assert ids[-1] in self._ends, (ids[-1], self._ends)
            ids.pop()
        return self._detokenizer.completion(prompt, ids, finish=finish)


def _check_device(device: str, *, on_gpu: bool) -> None:
    """Raises: ConfigError for a device that is not where this build of vLLM runs."""
    if device not in ("auto", "cuda" if on_gpu else "cpu"):
        raise ConfigError(
            f"--device {device}: this vLLM runs on {'CUDA devices' if on_gpu else 'the CPU'} and"
            " takes those of CUDA_VISIBLE_DEVICES; set that, or pass --engine hf"
        )


def _finish(output: CompletionOutput) -> Finish:
    """A stop reason is the stop string, or the id of an end token other than the tokenizer's own,
    which has none.
    """
    if output.finish_reason == "length":
        return "length"
    assert output.finish_reason == "stop", output.finish_reason
    return "stop" if isinstance(output.stop_reason, str) else "eos"


def _spread(seed: int) -> int:
    """Return a seed of 62 bits: vLLM adds the sample's number to it, which must not lead to another
    prompt's seed.
    """
    return int.from_bytes(hashlib.blake2b(str(seed).encode(), digest_size=8).digest(), "big") >> 2
