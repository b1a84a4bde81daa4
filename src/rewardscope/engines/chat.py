"""Generate with a chat server that knows neither tokens nor shape of its model to us."""

import json
import sys
from collections.abc import Sequence
from typing import Any, final

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from rewardscope.engines.client import Client, ServerError, at_once
from rewardscope.engines.requests import Sample, Sampling, grouped, samples_of, served_model
from rewardscope.models.flops import Flops
from rewardscope.records import Completion


@final
class ChatEngine:
    """Ask `/chat/completions`; the server makes the prompt of the turns.

    Its tokenizer is one of bytes, whose template writes the turns as JSON, so that prompts are
    token ids here too. It cannot continue a text.
    """

    max_positions = sys.maxsize
    flops = Flops(per_token=0, per_pair=0, head=0)  # nobody knows
    tells_ids = None

    def __init__(self, model: str, *, client: Client, most: int) -> None:
        self.tokenizer: PreTrainedTokenizerBase = turns_tokenizer()
        self._client, self._most = client, most
        self.served, _ = served_model(client, model)

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
        """Return `n` completions for each prompt, in order; see `Engine.generate`."""
        del reuse
        assert not stop, stop
        how = Sampling(stop, temperature, top_p, top_k, min_p, max_tokens)
        samples = n if temperature > 0 else 1

        def complete(sample: Sample) -> Completion:
            body = {
                "model": self.served,
                "messages": json.loads(str(self.tokenizer.decode(list(sample.prompt)))),
                "max_tokens": max_tokens,
            }
            return self._client.post("/chat/completions", how.body(sample.seed) | body, _answer)

        done = at_once(complete, samples_of(prompts, seeds, samples), most=self._most)
        return grouped(done, samples=samples, n=n)


def _answer(told: dict[str, Any]) -> Completion:
    """Return the answer of a chat; thoughts that come apart stand before it, in their marks."""
    choice = told["choices"][0]
    message, reason = choice["message"], choice["finish_reason"]
    if reason not in ("stop", "length"):
        raise ServerError(f"the server ended a text for the reason {reason!r}")
    thoughts = message.get("reasoning_content") or message.get("reasoning")
    opened = f"<think>\n{thoughts.strip()}\n</think>\n\n" if thoughts else ""
    return Completion(
        text=opened + (message["content"] or ""),
        token_ids=(),
        finish="length" if reason == "length" else "eos",
        ids_are_known=False,
        counted=(told.get("usage") or {}).get("completion_tokens"),
    )


def turns_tokenizer() -> PreTrainedTokenizerFast:
    """Return a tokenizer of bytes whose chat template writes the turns as JSON."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(letters)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, clean_up_tokenization_spaces=False)
    tokenizer.chat_template = "{{ messages | tojson }}"
    return tokenizer
