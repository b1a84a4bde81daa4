"""Guided search against one problem at a time with full re-encoding, and against the floor of its
distinct tokens.

The floor is what bare models would take in the same run: the distinct tokens of the search trees,
decoded by the policy in full batches and run once through the PRM.
"""

import dataclasses
import importlib.util
import os
from collections.abc import Sequence
from typing import Any, Literal

import torch

from benchmarks.measure import best_cpu_seconds, keep_row
from rewardscope.engines.hf import HfEngine
from rewardscope.paths import TINY
from rewardscope.prms import Scorer
from rewardscope.prms.prefix import PrefixScorer
from rewardscope.prms.scorer import HfScorer
from rewardscope.problems.prompts import encode_prompt
from rewardscope.problems.thinking import StepFormat
from rewardscope.problems.tinymath import load_tinymath
from rewardscope.records import Problem, SolvedProblem
from rewardscope.search.guided import SearchConfig, guided_search
from rewardscope.search.methods import METHODS

ROUNDS, ROWS = 1, 128
CONFIG = SearchConfig(
    method=METHODS["beam"],
    n=16,
    width=4,
    max_steps=40,
    max_step_tokens=64,
    max_tokens=64,
    max_thinking_tokens=64,
    form=StepFormat(),
    aggregation="last",
    temperature=0.8,
    top_p=1.0,
    seed=0,
)


class Forgetful:
    """An engine that computes every prefix anew."""

    def __init__(self, engine: HfEngine) -> None:
        self._engine, self.tokenizer, self.max_positions, self.flops = (
            engine,
            engine.tokenizer,
            engine.max_positions,
            engine.flops,
        )

    def generate(self, prompts: Sequence[Sequence[int]], **options: Any) -> Any:
        return self._engine.generate(prompts, **{**options, "reuse": False})


def measure(
    policy: str,
    problems: Sequence[Problem],
    config: SearchConfig,
    *,
    engine: Literal["hf", "vllm"] = "hf",
) -> None:
    """Keep one row.

    With vLLM it keeps its prefix cache in all of them, and the PRM runs in this process as ever.
    """
    folder = str(TINY / policy)
    plain = HfScorer(str(TINY / "tiny-prm"), device="cpu")
    solved: list[SolvedProblem] = []
    scorers: list[PrefixScorer] = []
    bare: Any = HfEngine(folder, device="cpu") if engine == "hf" else _vllm(folder)
    prompts = [encode_prompt(bare.tokenizer, problem.question) for problem in problems]

    def search(engine: Any, scorer: Scorer, at_once: int) -> list[SolvedProblem]:
        return [
            one.solved
            for one in guided_search(
                problems, engine, scorer=scorer, config=config, at_once=at_once
            )
        ]

    def ours() -> None:
        scorers.append(PrefixScorer(plain))
        fresh = HfEngine(folder, device="cpu") if engine == "hf" else bare
        solved[:] = search(fresh, scorers[-1], len(problems))

    def one_at_a_time() -> None:
        search(Forgetful(bare) if engine == "hf" else bare, plain, 1)

    def decode() -> None:
        rows = (prompts * (ROWS // len(prompts) + 1))[:ROWS]
        outputs = bare.generate(
            rows, n=1, stop=(), temperature=0.8, top_p=1.0, max_tokens=64, seeds=list(range(ROWS))
        )
        counts["decoded"] = sum(len(row[0].token_ids) for row in outputs)

    def score() -> None:
        batch = [
            plain.encode(row.problem.question, trace.steps)
            for row in solved
            for trace in row.traces[:2]
        ]
        before = plain.tokens_encoded
        plain.score(batch)
        counts["scored"] = plain.tokens_encoded - before

    counts: dict[str, int] = {}
    seconds = best_cpu_seconds(
        {"ours": ours, "one at a time": one_at_a_time, "decode": decode, "score": score},
        rounds=ROUNDS,
    )
    tree = sum(row.cost.tree_tokens for row in solved)
    drawn = sum(row.cost.policy_tokens for row in solved)
    floor = (
        drawn * seconds["decode"] / counts["decoded"] + tree * seconds["score"] / counts["scored"]
    )
    keep_row(
        "search",
        {
            "what": f"beam search, {policy}, tiny-prm, float32, one thread",
            "engine": engine,
            "problems": len(problems),
            "rounds": ROUNDS,
            **{name: getattr(config, name) for name in ("n", "width", "max_steps")},
            "problems_per_cpu_s": round(len(problems) / seconds["ours"], 3),
            "times_one_at_a_time": round(seconds["one at a time"] / seconds["ours"], 2),
            "share_of_floor": round(floor / seconds["ours"], 3),
            "prm_tokens_per_tree_token": round(scorers[-1].tokens_encoded / tree, 3),
            "policy_tokens": drawn,
            "tree_tokens": tree,
        },
    )


def _vllm(folder: str) -> Any:
    """Load a policy in vLLM, in this process, so that its CPU seconds count."""
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    from rewardscope.engines.vllm import VllmEngine

    return VllmEngine(folder, gpu_share=0.5)


def main() -> None:
    torch.set_num_threads(1)
    problems = load_tinymath(64)
    # it needs a venv of its own on the CPU, see CONTRIBUTING.md
    if importlib.util.find_spec("vllm") is not None:
        measure("tiny-instruct", problems, CONFIG, engine="vllm")
        return
    measure("tiny-instruct", problems, CONFIG)
    measure("tiny-instruct", problems, dataclasses.replace(CONFIG, n=4))
    for depth in (8, 16, 32):
        measure("tiny-reasoner", problems[:16], dataclasses.replace(CONFIG, max_steps=depth))


if __name__ == "__main__":
    main()
