"""A PRM and a policy as objects: score, look inside, change what happens inside, generate."""

import operator
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rewardscope.capturing.inputs import solution_start
from rewardscope.capturing.policy import PolicyEncoder
from rewardscope.capturing.token_text import token_reader
from rewardscope.engines.hf import HfEngine
from rewardscope.errors import BadRecord, ConfigError
from rewardscope.interventions.run import Intervention, Variant, edits_of, scores_under
from rewardscope.models.blocks import shape_of
from rewardscope.models.forward import padded_ids, run
from rewardscope.models.sites import Site, StateChange, residual
from rewardscope.prms import refuse_prm
from rewardscope.prms.scorer import HfScorer
from rewardscope.problems.prompts import encode_prompt, policy_prompt
from rewardscope.problems.thinking import find_format
from rewardscope.records import Encoded, Trace

# Shape legend: S steps, T tokens, D width.
Where = Literal["solution", "step-ends", "all"]
"""Which tokens of the PRM's input: those of the solution, those that scores are read at, or all."""


class _Change(NamedTuple):
    site: Site
    change: StateChange
    where: Where


@final
@dataclass(frozen=True)
class Prm:
    """A PRM in this process. `changes` are made in every forward pass; see `edited`."""

    scorer: HfScorer
    changes: tuple[_Change, ...] = ()

    @property
    def n_layers(self) -> int:
        """How many decoder blocks it has; layer l is the residual stream after block l, from 0."""
        return self.scorer.n_layers

    @property
    def width(self) -> int:
        return self.scorer.width

    @property
    def direction(self) -> Tensor | None:
        """The reward direction [D] of a linear head; None where the head is not linear."""
        return self.scorer.adapter.direction(self.scorer.model)

    def encode(self, question: str, steps: Sequence[str]) -> Encoded:
        """Return the PRM's input and the position that each step is scored at.

        Raises: BadRecord for no step, an empty step or one that holds a marker of the prompt;
        TooLong.
        """
        texts = [question] if isinstance(steps, str) else [question, *steps]
        if isinstance(steps, str) or not all(isinstance(text, str) for text in texts):
            raise BadRecord("a solution is a question, one text, and its steps, a list of texts")
        return self.scorer.encode(question, list(steps))

    def tokens(self, question: str, steps: Sequence[str]) -> list[str]:
        """Return the text of each token [T] of the PRM's input. Raises: as `encode`."""
        return token_reader(self.scorer.tokenizer)(self.encode(question, steps).input_ids)

    def score(self, question: str, steps: Sequence[str]) -> NDArray[np.float64]:
        """Return the score [S] of each step, in the range of the PRM's family. Raises: as `encode`.

        To score many solutions, `score_all` is faster.
        """
        return self.score_all([(question, steps)])[0]

    def score_all(
        self, solutions: Sequence[tuple[str, Sequence[str]]]
    ) -> list[NDArray[np.float64]]:
        """Return the scores [S] of each solution, (question, steps), in order.

        Raises: as `encode`.
        """
        variants = [self._variant(question, steps) for question, steps in solutions]
        found = [np.array(scores) for scores in scores_under(self.scorer, variants)]
        if self.changes and not all(np.isfinite(scores).all() for scores in found):
            raise BadRecord("an edit gives states from which a score is not finite")
        return found

    @torch.no_grad()
    def states(
        self, question: str, steps: Sequence[str], *, layers: Sequence[int]
    ) -> dict[int, Tensor]:
        """Return for each layer the states [T, D] of all tokens, float32 on the CPU.

        Raises: as `encode`; UnknownName for a layer that the model does not have.
        """
        layers = whole_layers(layers)
        variant = self._variant(question, steps)
        passed = self.scorer.forward(
            [variant.encoded], watch=residual(layers), edits=edits_of([variant])
        )
        return {layer: passed.states[Site(layer)][0].float().cpu() for layer in layers}

    def _variant(self, question: str, steps: Sequence[str]) -> Variant:
        encoded = self.encode(question, steps)
        changes = [
            Intervention(one.site, self._positions(question, encoded, one.where), one.change)
            for one in self.changes
        ]
        return Variant(encoded, changes)

    def _positions(self, question: str, encoded: Encoded, where: Where) -> Sequence[int]:
        if where == "all":
            return range(len(encoded.input_ids))
        if where == "step-ends":
            return encoded.step_ends
        return range(solution_start(question, self.scorer.encode), encoded.step_ends[-1] + 1)


def whole_layers(layers: Sequence[int]) -> list[int]:
    """Return layers as whole numbers. Raises: ConfigError where they are something else."""
    try:
        return [operator.index(layer) for layer in layers]
    except TypeError:
        raise ConfigError(
            f"layers {layers!r}: pass whole numbers, such as [3] or range(6)"
        ) from None


def load_prm(name: str | Path, *, device: str = "auto") -> Prm:
    """Load a PRM of any family from a hub id or a folder.

    Inputs beyond the positions that it was trained on are refused.
    Raises: UnknownName, MissingInput, BadRecord, ConfigError.
    """
    return Prm(HfScorer(str(name), device=device))


def edited(prm: Prm, site: Site, change: StateChange, *, where: Where = "solution") -> Prm:
    """Return the PRM with the states of a site changed in every forward pass.

    `change` takes states [N, D] and returns what stands in their place; `interventions.edits` has
    the usual ones. Changes are made in the order in which they were asked for, and `prm` itself
    stays as it is: `edited(edited(prm, Site(2), zero()), Site(4), add(direction))`.
    Raises: ConfigError where `where` is none of its values.
    """
    if where not in ("solution", "step-ends", "all"):
        raise ConfigError(f"where {where!r}: it must be solution, step-ends or all")
    return replace(prm, changes=(*prm.changes, _Change(site, change, where)))


@final
class Policy:
    """A policy in this process."""

    adapter = None  # it scores nothing

    def __init__(self, engine: HfEngine) -> None:
        self.engine, self.model, self.tokenizer = engine, engine.model, engine.tokenizer
        self.n_layers: int = shape_of(engine.model.config).n_layers
        self.window: int = engine.max_positions
        self.encoder = PolicyEncoder(engine.tokenizer, max_positions=engine.max_positions)
        prompt = policy_prompt(engine.tokenizer, "1 + 1 = ?")
        self._form = find_format(engine.tokenizer, prompt, thinking="auto", shown="all")

    def solve(
        self,
        question: str,
        *,
        n: int = 1,
        temperature: float = 0.0,
        top_p: float = 1.0,
        max_tokens: int = 1024,
        seed: int = 0,
    ) -> list[Trace]:
        """Return `n` solutions of a question; a temperature of 0 is greedy.

        Raises: TooLong where the prompt fills the policy's positions; ConfigError.
        """
        if not (n >= 1 and max_tokens >= 1 and temperature >= 0 and 0 < top_p <= 1):
            raise ConfigError(
                f"n {n}, max_tokens {max_tokens}, temperature {temperature}, top_p {top_p}: at"
                " least 1, 1 and 0, and above 0 up to 1 are needed"
            )
        if n > 1 and temperature == 0:
            raise ConfigError(f"n {n} at temperature 0: greedy samples are all the same")
        [completions] = self.engine.generate(
            [encode_prompt(self.tokenizer, question)],
            n=n,
            stop=(),
            temperature=temperature,
            top_p=top_p,
            max_tokens=max_tokens,
            seeds=[seed],
        )
        return [
            self._form.trace("question/0", index, completion)
            for index, completion in enumerate(completions)
        ]

    @torch.no_grad()
    def states(self, question: str, trace: Trace, *, layers: Sequence[int]) -> dict[int, Tensor]:
        """Return for each layer the states [T, D] of the prompt and the trace, float32 on the CPU.

        Raises: BadRecord, TooLong; UnknownName for a layer that the model does not have.
        """
        layers = whole_layers(layers)
        encoded = self.encoder.encode(question, trace)
        captured = run(self.model, padded_ids([encoded]), watch=residual(layers))
        return {layer: captured.states[Site(layer)][0].float().cpu() for layer in layers}


def load_policy(name: str | Path, *, device: str = "auto") -> Policy:
    """Load a causal language model from a hub id or a folder.

    Raises: MissingInput, ConfigError; BadRecord for a PRM.
    """
    refuse_prm(str(name))
    return Policy(HfEngine(str(name), device=device))
