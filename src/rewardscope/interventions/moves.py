"""Scores of one input under many changes of the states after a block, as rows of few batches: what
they share is computed once, and what a change cannot reach keeps its score to the last bit.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from rewardscope.interventions.run import Intervention, Variant, scores_under
from rewardscope.log import get_logger
from rewardscope.models.resume import Begun, begin, go_on, resumes
from rewardscope.models.sites import Site
from rewardscope.prms.scorer import TOKEN_BUDGET, HfScorer
from rewardscope.records import Encoded

# Shape legend: B rows, T tokens, N positions that are changed, S steps, D width.
# tokens of one pass: fewer on a CPU than of a scorer's, since many rows share their past
_BUDGET = {"cpu": 1_024, "cuda": TOKEN_BUDGET["cuda"]}
_CLOSE = 1e-3  # of scores that go on from states to those of a whole pass


class Move(NamedTuple):
    """What is added to the states after a block."""

    positions: Sequence[int]
    """Ascending; none leaves all as it is."""
    added: Callable[[], Tensor]
    """Gives what is added [N, D], when it is needed."""


class Mover:
    """Scores inputs under changes of the states after one block.

    The first input proves that the model can go on from its states: where it cannot, whole inputs
    are run, with the same scores within rounding. Raises: UnknownName for a layer that the model
    does not have.
    """

    def __init__(self, scorer: HfScorer, layer: int) -> None:
        self._scorer, self._layer = scorer, layer
        self._resumes: bool | None = None if resumes(scorer.model) else False

    @torch.no_grad()
    def scores(
        self, encoded: Encoded, moves: Sequence[Move]
    ) -> tuple[tuple[float, ...], list[tuple[float, ...]]]:
        """Return the step scores as they are, and under each move.

        A move that changes no bit of a state, or none that a score depends on, leaves the very same
        scores.
        """
        begun = self._begin(encoded)
        ends = torch.tensor(encoded.step_ends, device=begun.last_TD.device)
        plain_S = self._read(begun.last_TD[ends])
        if self._resumes is None:
            self._resumes = self._proves(begun, encoded, plain_S)
        reached = [self._reaching(move, encoded) for move in moves]
        found = [plain_S] * len(moves)
        for rows in self._batches(reached, encoded):
            some = [reached[row] for row in rows]
            for row, scores_S in zip(rows, self._moved(begun, encoded, some), strict=True):
                if scores_S is not None:
                    # a step before the first change has the score that it had
                    early_S = ends < reached[row].positions[0]
                    found[row] = torch.where(early_S.cpu(), plain_S, scores_S)
        plain = tuple(plain_S.tolist())
        return plain, [plain if s is plain_S else tuple(s.tolist()) for s in found]

    def _begin(self, encoded: Encoded) -> Begun:
        stop = encoded.step_ends[-1] + 1
        ids_1T = torch.tensor([encoded.input_ids[:stop]])
        self._scorer.tokens_encoded += stop
        return begin(self._scorer.model, ids_1T, self._layer)

    def _read(self, states_SD: Tensor) -> Tensor:
        return self._scorer.adapter.read_out(self._scorer.model, states_SD).cpu()

    def _reaching(self, move: Move, encoded: Encoded) -> Move:
        """Return the part of a move on which a score depends: up to the last step end, and after
        the last block at step ends alone.
        """
        last = encoded.step_ends[-1]
        if self._layer < self._scorer.n_layers - 1:
            if not move.positions or move.positions[-1] <= last:
                return move
            kept = [place for place, at in enumerate(move.positions) if at <= last]
        else:
            ends = set(encoded.step_ends)
            kept = [place for place, at in enumerate(move.positions) if at in ends]
        return Move([move.positions[place] for place in kept], lambda: move.added()[kept])

    def _batches(self, moves: Sequence[Move], encoded: Encoded) -> Iterator[list[int]]:
        """Yield the moves that change something in batches, those that begin at like places
        together.
        """
        order = sorted(
            (row for row, move in enumerate(moves) if len(move.positions)),
            key=lambda row: moves[row].positions[0],
        )
        budget = _BUDGET[self._scorer.model.device.type]
        batch: list[int] = []
        n_tokens = 0
        for row in order:
            if not batch:
                n_tokens = encoded.step_ends[-1] + 1 - moves[row].positions[0]
            elif (len(batch) + 1) * n_tokens > budget:
                yield batch
                batch, n_tokens = [], encoded.step_ends[-1] + 1 - moves[row].positions[0]
            batch.append(row)
        if batch:
            yield batch

    def _moved(self, begun: Begun, encoded: Encoded, moves: Sequence[Move]) -> list[Tensor | None]:
        """Return the scores [S] under each move, None where it changes no bit."""
        start = moves[0].positions[0]
        plain_ND = begun.states_TD[start:]
        states, changes = [], []
        for move in moves:
            at = torch.tensor(move.positions, device=plain_ND.device) - start
            state_ND = plain_ND.clone()
            added_ND = move.added().to(device=plain_ND.device, dtype=torch.float32)
            state_ND[at] = (state_ND[at].float() + added_ND).to(state_ND.dtype)
            changes.append(not torch.equal(state_ND, plain_ND))
            if changes[-1]:
                states.append(state_ND)
        scores = self._scores_of(begun, encoded, torch.stack(states), start) if states else []
        rest = iter(scores)
        return [next(rest) if changed else None for changed in changes]

    def _scores_of(
        self, begun: Begun, encoded: Encoded, states_BND: Tensor, start: int
    ) -> list[Tensor]:
        if self._resumes is False:
            return self._by_whole_passes(encoded, states_BND, start)
        n_rows, n_tokens, width = states_BND.shape
        later = [end - start for end in encoded.step_ends if end >= start]
        self._scorer.tokens_encoded += n_rows * n_tokens
        states_BSD = go_on(
            self._scorer.model, begun, states_BND, start=start, pick=lambda s_BND: s_BND[:, later]
        )
        later_BS = self._read(states_BSD.reshape(-1, width)).view(n_rows, len(later))
        # what stands before is put in by the caller
        early_BS = later_BS.new_zeros(n_rows, len(encoded.step_ends) - len(later))
        return list(torch.cat([early_BS, later_BS], dim=1))

    def _by_whole_passes(self, encoded: Encoded, states_BND: Tensor, start: int) -> list[Tensor]:
        positions, site = range(start, start + states_BND.shape[1]), Site(self._layer)
        variants = [
            Variant(encoded, [Intervention(site, positions, lambda x_ND, s=s_ND: s.to(x_ND))])
            for s_ND in states_BND
        ]
        return [torch.tensor(row) for row in scores_under(self._scorer, variants, share=True)]

    def _proves(self, begun: Begun, encoded: Encoded, plain_S: Tensor) -> bool:
        """Say whether going on from states as they are gives the scores of the whole pass."""
        start = encoded.step_ends[-1] // 2
        try:
            self._resumes = True
            states_2ND = begun.states_TD[start:].expand(2, -1, -1)
            again = self._scores_of(begun, encoded, states_2ND, start)
        except (RuntimeError, TypeError, AttributeError, KeyError, ValueError, IndexError) as error:
            why = str(error).splitlines()[0] if str(error) else type(error).__name__
        else:
            later_S = torch.tensor(encoded.step_ends) >= start
            gap = max(float((one - plain_S)[later_S].abs().max()) for one in again)
            scale = max(1.0, float(plain_S.abs().max()))
            half = begun.states_TD.dtype in (torch.bfloat16, torch.float16)
            if gap <= (50 if half else 1) * _CLOSE * scale:
                return True
            why = f"its scores are off by {gap:.2g}"
        get_logger().warning(
            f"the PRM cannot go on from the states after block {self._layer} ({why}); whole inputs"
            " are run, which takes longer"
        )
        return False
