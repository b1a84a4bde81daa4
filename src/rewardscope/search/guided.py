"""Step-level search guided by a PRM, many problems at once.

A problem starts with n / width roots; each beam is continued `width` times a round, and the best
candidates live on: which, the method says (see methods.py). The last round is sampled without a
stop string: a solution ends there or is cut. So with one round any method is best-of-n, where every
sample is a trace. A problem that ends makes room for the next one at once: the engine stays full.
Source of DVTS: Beeching, Tunstall and Rush 2024, Scaling test-time compute with open models.
"""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from rewardscope.capturing.inputs import solution_start
from rewardscope.engines import Engine
from rewardscope.errors import BadRecord, TooLong
from rewardscope.prms import Scorer
from rewardscope.problems.prompts import PLAIN, PromptForm, encode_prompt
from rewardscope.problems.thinking import StepFormat
from rewardscope.records import Completion, Cost, Encoded, Problem, SolvedProblem
from rewardscope.search.aggregate import Aggregation
from rewardscope.search.methods import SearchMethod
from rewardscope.search.tree import Beam, Tree, beam_seed

TOO_LONG_FOR_PRM = "candidate longer than the PRM's positions"
NOT_ENCODABLE = "candidate with a text that the PRM's prompt cannot hold"
NO_STEP = "candidate that ended without a step"


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchConfig:
    """How to search. `n` is a multiple of `width`; `max_step_tokens` bounds a round, `max_tokens`
    the last one.

    Where the form hides thoughts from the PRM, each root first thinks once, with at most
    `max_thinking_tokens`.
    """

    method: SearchMethod
    n: int
    width: int
    max_steps: int
    max_step_tokens: int
    max_tokens: int
    max_thinking_tokens: int
    form: StepFormat
    aggregation: Aggregation
    temperature: float
    top_p: float
    seed: int
    top_k: int = 0
    min_p: float = 0.0
    prompt: PromptForm = PLAIN

    @property
    def rounds(self) -> int:
        return self.max_steps if self.method.stepwise else 1


class Searched(NamedTuple):
    """What the search of one problem gives."""

    solved: SolvedProblem
    """Answers and verdicts are not filled in."""
    dropped: Counter[str]
    """How many candidates were left out, by reason."""


def guided_search(
    problems: Sequence[Problem],
    engine: Engine,
    *,
    scorer: Scorer,
    config: SearchConfig,
    at_once: int,
) -> Iterator[Searched]:
    """Yield each problem as its search ends; about as many samples are in flight as `at_once`
    problems have at their start.

    A problem's result does not depend on the others. Seconds of a round are shared out by tokens.
    Raises: TooLong where a prompt alone fills the policy's positions.
    """
    waiting, active = list(reversed(problems)), list[Tree]()
    thinks = config.form.hides_thoughts and config.rounds > 1
    roots = config.n // config.width
    while waiting or active:
        room = at_once * roots - sum(len(tree.frontier) for tree in active)
        while waiting and room > 0:
            problem = waiting.pop()
            prompt = tuple(encode_prompt(engine.tokenizer, problem.question, config.prompt))
            active.append(
                Tree.start(
                    problem, prompt, roots=roots, apart=config.method.roots_apart, thinks=thinks
                )
            )
            active[-1].cost += Cost(policy_flops=engine.flops.of(0, len(prompt)))
            room -= roots
        _round(active, engine, scorer=scorer, config=config)
        for tree in active:
            if not tree.frontier:
                yield Searched(
                    tree.solved(
                        how=config.aggregation,
                        each_sample=config.rounds == 1,
                        delimiter=config.form.delimiter,
                    ),
                    tree.dropped,
                )
        active = [tree for tree in active if tree.frontier]


def _round(trees: Sequence[Tree], engine: Engine, *, scorer: Scorer, config: SearchConfig) -> None:
    """Take every tree one step further: one call of the scorer, and one of the engine for those at
    the same kind of round.
    """
    started = time.perf_counter()
    before = [tree.cost.policy_tokens + tree.cost.prm_tokens for tree in trees]
    candidates: list[list[Beam]] = []
    ordered: list[Tree] = []
    for group, how in _rounds(trees, config):
        samples = _sample(group, engine, how=how, config=config)
        candidates += [
            tree.expand(completions, form=config.form, max_positions=engine.max_positions)
            for tree, completions in zip(group, samples, strict=True)
        ]
        ordered += group
    keep = config.method.keep(config.n, config.width)
    for tree, beams in zip(ordered, _score(ordered, candidates, scorer=scorer), strict=True):
        tree.select(beams, keep=keep, how=config.aggregation)
    seconds = time.perf_counter() - started
    tokens = [
        tree.cost.policy_tokens + tree.cost.prm_tokens - b
        for tree, b in zip(trees, before, strict=True)
    ]
    for tree, own in zip(trees, tokens, strict=True):
        tree.cost += Cost(seconds=seconds * own / max(1, sum(tokens)))


class _Sampling(NamedTuple):
    """How the trees of one kind of round are continued."""

    width: int
    stop: tuple[str, ...]
    max_tokens: int


def _rounds(trees: Sequence[Tree], config: SearchConfig) -> Iterator[tuple[list[Tree], _Sampling]]:
    """Yield the trees that think first, those at their last step, and those between, where there
    are any.
    """
    last = config.rounds - 1
    end = (config.form.end_of_thoughts,) if config.form.hides_thoughts else ()
    kinds = (
        ([tree for tree in trees if tree.depth < 0], _Sampling(1, end, config.max_thinking_tokens)),
        (
            [tree for tree in trees if tree.depth == last],
            _Sampling(config.width, (), config.max_tokens),
        ),
        (
            [tree for tree in trees if 0 <= tree.depth < last],
            _Sampling(config.width, (config.form.delimiter,), config.max_step_tokens),
        ),
    )
    yield from ((group, how) for group, how in kinds if group)


def _sample(
    trees: Sequence[Tree], engine: Engine, *, how: _Sampling, config: SearchConfig
) -> list[list[list[Completion]]]:
    """Continue every frontier in one call; return for each tree and each of its beams the
    completions.
    """
    growing = [(tree, rank, beam) for tree in trees for rank, beam in enumerate(tree.frontier)]
    completions = engine.generate(
        [tree.prompt + beam.token_ids for tree, _, beam in growing],
        n=how.width,
        stop=how.stop,
        temperature=config.temperature,
        top_p=config.top_p,
        top_k=config.top_k,
        min_p=config.min_p,
        max_tokens=how.max_tokens,
        seeds=[
            beam_seed(config.seed, tree.problem.id, beam=rank, depth=tree.depth)
            for tree, rank, _ in growing
        ],
        reuse=config.rounds > 1,
    )
    for (tree, _, beam), samples in zip(growing, completions, strict=True):
        context = len(tree.prompt) + len(beam.token_ids)
        tree.cost += Cost(
            policy_flops=sum(
                engine.flops.of_sampling(context, len(sample.token_ids)) for sample in samples
            )
        )
    remaining = iter(completions)
    return [[next(remaining) for _ in tree.frontier] for tree in trees]


def _score(
    trees: Sequence[Tree], candidates: Sequence[Sequence[Beam]], *, scorer: Scorer
) -> list[list[Beam]]:
    """Fill in the scores of new steps with one call of the scorer; return the candidates that are
    left, in order.

    A score that a beam has is kept: a PRM is causal, so later steps do not change it.
    """
    admitted = [
        [pair for beam in beams if (pair := _admit(tree, beam, scorer)) is not None]
        for tree, beams in zip(trees, candidates, strict=True)
    ]
    scores = iter(
        scorer.score([encoded for pairs in admitted for _, encoded in pairs if encoded is not None])
    )
    for tree, pairs in zip(trees, admitted, strict=True):
        tree.cost += Cost(prm_forwards=int(any(encoded is not None for _, encoded in pairs)))
    return [
        [
            beam if encoded is None else _scored(beam, encoded, next(scores), scorer.window)
            for beam, encoded in pairs
        ]
        for pairs in admitted
    ]


def _scored(beam: Beam, encoded: Encoded, scores: tuple[float, ...], window: int) -> Beam:
    return replace(
        beam,
        scores=beam.scores + scores[len(beam.scores) :],
        in_window=len(encoded.input_ids) <= window,
    )


def _admit(tree: Tree, beam: Beam, scorer: Scorer) -> tuple[Beam, Encoded | None] | None:
    """Return a candidate with its PRM input, which is None without new steps; or None where it is
    dropped, which is counted.
    """
    if not beam.steps and not beam.is_open and not beam.thinking:
        tree.dropped[NO_STEP] += 1
        return None
    if len(beam.steps) == len(beam.scores):
        return beam, None
    try:
        encoded = scorer.encode(tree.problem.question, beam.steps)
    except BadRecord as error:
        tree.dropped[TOO_LONG_FOR_PRM if isinstance(error, TooLong) else NOT_ENCODABLE] += 1
        return None
    if not tree.prm_prompt:
        tree.prm_prompt = solution_start(tree.problem.question, scorer.encode)
        tree.cost += Cost(tree_tokens=tree.prm_prompt)
        if scorer.reuses:
            tree.cost += Cost(
                prm_tokens=tree.prm_prompt, prm_flops=scorer.flops.of(0, tree.prm_prompt)
            )
    scored_to = encoded.step_ends[len(beam.scores) - 1] + 1 if beam.scores else tree.prm_prompt
    begin, end = (
        (scored_to, encoded.step_ends[-1] + 1) if scorer.reuses else (0, len(encoded.input_ids))
    )
    new = encoded.step_ends[-1] + 1 - scored_to
    tree.cost += Cost(
        tree_tokens=new, prm_tokens=end - begin, prm_flops=scorer.flops.of(begin, end)
    )
    return beam, encoded
