"""A policy and a PRM that follow a script, so that a search can be worked out by hand.

Tokens are characters.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rewardscope.errors import BadRecord, TooLong
from rewardscope.models.flops import Flops
from rewardscope.problems.prompts import INSTRUCTION
from rewardscope.problems.thinking import StepFormat
from rewardscope.records import Completion, Encoded, Finish, Problem
from rewardscope.search.aggregate import Aggregation
from rewardscope.search.guided import SearchConfig, Searched, guided_search
from rewardscope.search.methods import SearchMethod, find_method

Said = str | tuple[str, Finish]
Script = Mapping[str, Sequence[Said]]
PLAIN = StepFormat()
FLOPS = Flops(per_token=1000, per_pair=1, head=10)
GREEDY_STEPS = SearchMethod(
    name="greedy-steps",
    suffix="_greedy_steps_prm",
    title="greedy steps",
    summary="the best one of all lives on",
    keep=lambda n, width: 1,
)


def problem(question: str) -> Problem:
    return Problem(id=f"set/{question}", dataset="set", question=question, answer="1")


def config(
    *,
    n: int = 4,
    width: int = 2,
    max_steps: int = 5,
    max_step_tokens: int = 100,
    aggregation: Aggregation = "last",
    seed: int = 0,
    method: str = "beam",
    form: StepFormat = PLAIN,
) -> SearchConfig:
    return SearchConfig(
        method=find_method(method),
        n=n,
        width=width,
        max_steps=max_steps,
        max_step_tokens=max_step_tokens,
        max_tokens=1000,
        max_thinking_tokens=500,
        form=form,
        aggregation=aggregation,
        temperature=1.0,
        top_p=1.0,
        seed=seed,
    )


def search(
    problems: Sequence[Problem],
    policy: "FakePolicy",
    *,
    scorer: "FakePrm",
    config: SearchConfig,
    at_once: int = 8,
) -> list[Searched]:
    """Return what a search gives, in the order of the problems."""
    found = {
        one.solved.problem.id: one
        for one in guided_search(problems, policy, scorer=scorer, config=config, at_once=8)
    }
    return [found[one.id] for one in problems]


class CharTokenizer:
    """One token a character; no chat template."""

    chat_template = None

    def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
        return {"input_ids": [ord(character) for character in text]}


class FakePolicy:
    """Say, after the question and what was said so far (`Q|text so far`), what the script lists
    there, in turn over a call.

    A text that ends with a blank line, or with one of `stops`, stops there; another one is the end.
    A pair gives the finish itself.
    """

    def __init__(
        self, script: Script, *, max_positions: int = 10_000, stops: tuple[str, ...] = ()
    ) -> None:
        self.script, self.max_positions, self.stops = script, max_positions, ("\n\n", *stops)
        self.tokenizer: Any = CharTokenizer()
        self.flops = FLOPS
        self.calls: list[dict[str, Any]] = []

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
        self.calls.append(
            {
                "prompts": len(prompts),
                "n": n,
                "stop": stop,
                "max_tokens": max_tokens,
                "seeds": list(seeds),
            }
        )
        turns: Counter[str] = Counter()
        return [self._say("".join(map(chr, prompt)), n, turns) for prompt in prompts]

    def _say(self, prompt: str, n: int, turns: Counter[str]) -> list[Completion]:
        said, first = self.script[prompt.replace(f"\n\n{INSTRUCTION}\n\n", "|")], turns[prompt]
        turns[prompt] += n
        return [self._completion(said[index % len(said)]) for index in range(first, first + n)]

    def _completion(self, said: Said) -> Completion:
        text, finish = (
            said
            if isinstance(said, tuple)
            else (said, "stop" if said.endswith(self.stops) else "eos")
        )
        return Completion(text=text, token_ids=tuple(map(ord, text)), finish=finish)


class FakePrm:
    """Score each step by its text; refuse a step that contains `<tag>` and solutions longer than
    `max_positions` characters.
    """

    def __init__(
        self, scores: Mapping[str, float], *, max_positions: int = 10_000, window: int | None = None
    ) -> None:
        self.table, self.max_positions, self.window, self.flops = (
            scores,
            max_positions,
            window or max_positions,
            FLOPS,
        )
        self.tokenizer: Any = CharTokenizer()
        self.tokens_encoded = 0
        self.reuses = True
        self.calls: list[list[list[str]]] = []

    def encode(self, question: str, steps: Sequence[str]) -> Encoded:
        if any("<tag>" in step for step in steps):
            raise BadRecord("a step contains <tag>")
        text = question + "".join(f"\x01{step}" for step in steps) + "\x01"
        if len(text) > self.max_positions:
            raise TooLong(f"{len(text)} characters")
        ends = [position for position, character in enumerate(text) if character == "\x01"][1:]
        return Encoded(input_ids=tuple(map(ord, text)), step_ends=tuple(ends))

    def score(self, batch: Sequence[Encoded]) -> list[tuple[float, ...]]:
        steps = [("".join(map(chr, encoded.input_ids)).split("\x01"))[1:-1] for encoded in batch]
        self.calls.append(steps)
        return [tuple(self.table[step] for step in row) for row in steps]
