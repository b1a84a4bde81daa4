"""The search tree of one problem, without models: beams, how they grow, which of them live on, what
comes out.

The prefix of a beam is its token ids, never text that is tokenised again. Its steps are cut from
its text.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from rewardscope.problems.thinking import StepFormat
from rewardscope.records import Completion, Cost, Finish, Problem, SolvedProblem, Trace
from rewardscope.search.aggregate import Aggregation, aggregate

# decimals that rank: batches of other shapes change a score by some 1e-7, which must not reorder
# equals
_TIE = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Beam:
    """A partial or whole solution. `finish` is `stop` while it can grow; `steps` are whole and not
    blank.

    Beams compete with those of the same `branch`; `copies` counts the samples that were merged into
    this one. `thinking`, `n_thinking` and `in_window` are those of a trace.

    `scores` may lag behind `steps` until the PRM has seen the new ones. Text after the last
    delimiter of an open beam is the start of its next step and in no step yet.
    """

    token_ids: tuple[int, ...] = ()
    text: str = ""
    steps: tuple[str, ...] = ()
    scores: tuple[float, ...] = ()
    finish: Finish = "stop"
    branch: int = 0
    thinking: str = ""
    n_thinking: int = 0
    in_window: bool | None = None
    copies: int = 1

    @property
    def is_open(self) -> bool:
        return self.finish == "stop"

    def grow(self, completion: Completion, *, form: StepFormat, room: int) -> "Beam":
        """Return the beam with a completion added; with no more than `room` tokens in all it can
        still grow.
        """
        token_ids, text = self.token_ids + completion.token_ids, self.text + completion.text
        finish = (
            "length"
            if completion.finish == "stop" and len(token_ids) >= room
            else completion.finish
        )
        thinking, steps, n_thinking = form.split(text, finished=finish != "stop")
        return replace(
            self,
            token_ids=token_ids,
            text=text,
            steps=steps,
            finish=finish,
            thinking=thinking,
            n_thinking=n_thinking,
            copies=1,
        )

    def value(self, how: Aggregation) -> float:
        """Return the aggregated score; a beam without a step yet is worth less than any other."""
        return aggregate(self.scores, how) if self.scores else float("-inf")


@dataclass(slots=True, kw_only=True)
class Tree:
    """The state of one problem's search.

    `frontier` holds the open beams that grow next, best first; `prm_prompt` is how many tokens of a
    PRM input come before the solution. The cost's `tree_tokens` are the PRM's prompt, and each step
    after its own prefix.
    """

    problem: Problem
    prompt: tuple[int, ...]
    frontier: list[Beam]
    ended: list[Beam] = field(default_factory=list)
    best_prefix: Beam = Beam()
    dropped: Counter[str] = field(default_factory=Counter)
    depth: int = 0
    prm_prompt: int = 0
    cost: Cost = field(default_factory=Cost)

    @classmethod
    def start(
        cls, problem: Problem, prompt: tuple[int, ...], *, roots: int, apart: bool, thinks: bool
    ) -> "Tree":
        """Return a tree whose roots compete with each other or, `apart`, each grows a branch of its
        own.

        Where each root `thinks` before its first step, the tree starts below the root.
        """
        frontier = [Beam(branch=root if apart else 0) for root in range(roots)]
        return cls(problem=problem, prompt=prompt, frontier=frontier, depth=-1 if thinks else 0)

    def expand(
        self, samples: Sequence[Sequence[Completion]], *, form: StepFormat, max_positions: int
    ) -> list[Beam]:
        """Return the candidates that the frontier's samples make, in order; those of a branch with
        equal tokens are merged into one.
        """
        self.depth += 1
        room = max_positions - len(self.prompt)
        merged: dict[tuple[int, tuple[int, ...], Finish], Beam] = {}
        for beam, completions in zip(self.frontier, samples, strict=True):
            for completion in completions:
                grown = beam.grow(completion, form=form, room=room)
                key = (grown.branch, grown.token_ids, grown.finish)
                merged[key] = (
                    replace(merged[key], copies=merged[key].copies + 1) if key in merged else grown
                )
        lengths = [
            len(completion.token_ids) for completions in samples for completion in completions
        ]
        self.cost += Cost(
            policy_tokens=sum(lengths),
            policy_forwards=max(lengths),
            merged=len(lengths) - len(merged),
        )
        return list(merged.values())

    def select(self, candidates: Sequence[Beam], *, keep: int, how: Aggregation) -> None:
        """Set the next frontier: of each branch, the open beams among its best `keep` scored
        candidates and ended solutions.

        A solution that ended holds its place, so a branch stops where its best `keep` have all
        ended. One that was cut holds none, but stays among the traces.
        """
        self.ended += [beam for beam in candidates if not beam.is_open]
        competing = ranked(
            [
                *(beam for beam in self.ended if beam.finish == "eos"),
                *(beam for beam in candidates if beam.is_open),
            ],
            how,
        )
        places: Counter[int] = Counter()
        best = []
        for beam in competing:
            places[beam.branch] += 1
            if places[beam.branch] <= keep:
                best.append(beam)
        self.frontier = [beam for beam in best if beam.is_open]
        if self.frontier:
            self.best_prefix = self.frontier[0]

    def solved(self, *, how: Aggregation, each_sample: bool, delimiter: str) -> SolvedProblem:
        """Return all traces, those that ended before those that were cut, each group by score; the
        first is chosen.

        `each_sample` is a trace of its own, also where it equals another: in a vote over samples
        every one counts.

        Where no candidate was left, the best prefix stands in, as a trace that was cut.
        """
        beams = self.ended or [replace(self.best_prefix, finish="length")]
        ordered = sorted(ranked(beams, how), key=lambda beam: beam.finish != "eos")
        repeated = [beam for beam in ordered for _ in range(beam.copies if each_sample else 1)]
        traces = tuple(
            _trace(self.problem.id, index, beam, delimiter=delimiter)
            for index, beam in enumerate(repeated)
        )
        return SolvedProblem(problem=self.problem, traces=traces, chosen=0, cost=self.cost)


def ranked(beams: Sequence[Beam], how: Aggregation) -> list[Beam]:
    """Return the beams by aggregated score, best first; equals keep their order."""
    return sorted(
        beams, key=lambda beam: -round(beam.value(how), _TIE) if beam.scores else float("inf")
    )


def beam_seed(seed: int, problem_id: str, *, beam: int, depth: int) -> int:
    """Return a seed of 31 bits that depends on these values alone, not on what else is searched."""
    digest = hashlib.blake2b(f"{seed}|{problem_id}|{beam}|{depth}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 33


def _trace(problem_id: str, index: int, beam: Beam, *, delimiter: str) -> Trace:
    return Trace(
        problem_id=problem_id,
        index=index,
        steps=beam.steps,
        scores=beam.scores,
        finish=beam.finish,
        n_tokens=len(beam.token_ids),
        thinking=beam.thinking,
        n_thinking=beam.n_thinking,
        in_window=beam.in_window,
        delimiter=delimiter,
        token_ids=beam.token_ids,
    )
