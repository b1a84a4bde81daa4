"""An engine for tests: it says what a function says, under the same contract as the real ones."""

from collections.abc import Callable, Sequence
from typing import final

from transformers import PreTrainedTokenizerBase

from rewardscope.engines.completions import Detokenizer, StopFinder, check_prompts
from rewardscope.models.flops import Flops
from rewardscope.records import Completion, Finish

Script = Callable[[str, int, int], str]
"""From the text of the prompt (special tokens kept), the prompt's seed and the sample's number to
all that is said until the end token.
"""


@final
class ScriptedEngine:
    """Complete prompts by a script.

    At temperature 0 every sample is sample 0. `calls` counts the calls of `generate`.
    """

    flops = Flops(per_token=0, per_pair=0, head=0)  # a script computes nothing

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, script: Script, *, max_positions: int
    ) -> None:
        self.tokenizer, self.max_positions, self.calls = tokenizer, max_positions, 0
        self._script, self._detokenizer = script, Detokenizer(tokenizer)

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
        """Return `n` completions for each prompt, in order; see `Engine.generate`.

        `top_p`, `top_k` and `min_p` have no meaning here.
        """
        check_prompts(prompts, max_positions=self.max_positions)
        self.calls += 1
        finder, completions = StopFinder(self._detokenizer, stop), []
        for prompt, seed in zip(prompts, seeds, strict=True):
            text, room = (
                self.tokenizer.decode(list(prompt)),
                min(max_tokens, self.max_positions - len(prompt)),
            )
            said = [
                self._script(str(text), seed, sample if temperature > 0 else 0)
                for sample in range(n)
            ]
            completions.append(
                [self._cut(prompt, continuation, room=room, finder=finder) for continuation in said]
            )
        return completions

    def _cut(
        self, prompt: Sequence[int], continuation: str, *, room: int, finder: StopFinder
    ) -> Completion:
        """Return the continuation up to its first stop string, its end, or `room` tokens."""
        ids: list[int] = []
        finish: Finish = "eos"
        for token in self.tokenizer(continuation, add_special_tokens=False)["input_ids"]:
            ids.append(token)
            if finder.completes(prompt, ids):
                finish = "stop"
                break
            if len(ids) == room:
                finish = "length"
                break
        return self._detokenizer.completion(prompt, ids, finish=finish)
