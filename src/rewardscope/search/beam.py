"""Step-level beam search guided by a PRM, all problems together: one call of the engine and one of the scorer for each step.

Each problem starts with `n` samples of a first step; then the best `n / width` beams live on and each is continued `width`
times. The last round is sampled without a stop string: a solution ends there, or is cut at the step's token limit.
So with `max_steps` 1 this is best-of-n.
"""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from rewardscope.engines import Engine
from rewardscope.errors import BadRecord, TooLong
from rewardscope.prms import Scorer
from rewardscope.problems.prompts import encode_prompt
from rewardscope.records import Completion, Encoded, Problem, SolvedProblem
from rewardscope.search.aggregate import Aggregation
from rewardscope.search.tree import Beam, Tree, beam_seed

TOO_LONG_FOR_PRM = "candidate longer than the PRM's positions"
NOT_ENCODABLE = "candidate with a text that the PRM's prompt cannot hold"
NO_STEP = "candidate that ended without a step"


@dataclass(frozen=True, slots=True, kw_only=True)
class BeamConfig:
    """How to search. `n` is a multiple of `width`; `max_step_tokens` bounds each call of the engine."""

    n: int
    width: int
    max_steps: int
    max_step_tokens: int
    delimiter: str
    aggregation: Aggregation
    temperature: float
    top_p: float
    seed: int


class Searched(NamedTuple):
    """What a search gives."""

    solved: list[SolvedProblem]
    """One for each problem, in order; answers and verdicts are not filled in."""
    dropped: Counter[str]
    """How many candidates were left out, by reason."""


def beam_search(problems: Sequence[Problem], engine: Engine, *, scorer: Scorer, config: BeamConfig) -> Searched:
    """Search all problems in one pool.

    A problem's result does not depend on the others in the pool. Seconds are shared out by tokens.
    Raises: TooLong where a prompt alone fills the policy's positions.
    """
    started = time.perf_counter()
    trees = [Tree(problem=problem, prompt=tuple(encode_prompt(engine.tokenizer, problem.question))) for problem in problems]
    for depth in range(config.max_steps):
        growing = [tree for tree in trees if tree.frontier]
        if not growing:
            break
        samples = _sample(growing, engine, config=config, depth=depth)
        candidates = [
            tree.expand(completions, delimiter=config.delimiter, max_positions=engine.max_positions)
            for tree, completions in zip(growing, samples, strict=True)
        ]
        scored = _score(growing, candidates, scorer=scorer)
        for tree, beams in zip(growing, scored, strict=True):
            tree.select(beams, keep=config.n // config.width, how=config.aggregation)
    seconds = time.perf_counter() - started
    tokens = max(1, sum(tree.policy_tokens + tree.prm_tokens for tree in trees))
    return Searched(
        [tree.solved(how=config.aggregation, seconds=seconds * (tree.policy_tokens + tree.prm_tokens) / tokens) for tree in trees],
        sum((tree.dropped for tree in trees), Counter()),
    )


def _sample(trees: Sequence[Tree], engine: Engine, *, config: BeamConfig, depth: int) -> list[list[list[Completion]]]:
    """Continue every frontier in one call; return for each tree and each of its beams the completions."""
    growing = [(tree, rank, beam) for tree in trees for rank, beam in enumerate(tree.frontier)]
    completions = engine.generate(
        [tree.prompt + beam.token_ids for tree, _, beam in growing],
        n=config.n if depth == 0 else config.width,
        stop=() if depth == config.max_steps - 1 else (config.delimiter,),
        temperature=config.temperature,
        top_p=config.top_p,
        max_tokens=config.max_step_tokens,
        seeds=[beam_seed(config.seed, tree.problem.id, beam=rank, depth=depth) for tree, rank, _ in growing],
    )
    remaining = iter(completions)
    return [[next(remaining) for _ in tree.frontier] for tree in trees]


def _score(trees: Sequence[Tree], candidates: Sequence[Sequence[Beam]], *, scorer: Scorer) -> list[list[Beam]]:
    """Fill in the scores of new steps with one call of the scorer; return the candidates that are left, in order.

    A score that a beam has is kept: a PRM is causal, so later steps do not change it.
    """
    admitted = [
        [pair for beam in beams if (pair := _admit(tree, beam, scorer)) is not None] for tree, beams in zip(trees, candidates, strict=True)
    ]
    scores = iter(scorer.score([encoded for pairs in admitted for _, encoded in pairs if encoded is not None]))
    return [
        [beam if encoded is None else replace(beam, scores=beam.scores + next(scores)[len(beam.scores) :]) for beam, encoded in pairs]
        for pairs in admitted
    ]


def _admit(tree: Tree, beam: Beam, scorer: Scorer) -> tuple[Beam, Encoded | None] | None:
    """Return a candidate with its PRM input, which is None without new steps; or None where it is dropped, which is counted."""
    if not beam.steps and not beam.is_open:
        tree.dropped[NO_STEP] += 1
        return None
    if len(beam.steps) == len(beam.scores):
        return beam, None
    try:
        encoded = scorer.encode(tree.problem.question, beam.steps)
    except BadRecord as error:
        tree.dropped[TOO_LONG_FOR_PRM if isinstance(error, TooLong) else NOT_ENCODABLE] += 1
        return None
    tree.prm_tokens += len(encoded.input_ids)
    return beam, encoded
