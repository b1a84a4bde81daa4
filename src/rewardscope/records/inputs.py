"""What a model is shown, and where a captured state comes from."""

from dataclasses import dataclass
from typing import NamedTuple

from rewardscope.errors import BadRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """One PRM input: token ids, and for each step the position whose state scores it.

    Scoring, capture, lens and patching all use this one object.
    """

    input_ids: tuple[int, ...]
    step_ends: tuple[int, ...]

    def __post_init__(self) -> None:
        increasing = all(a < b for a, b in zip(self.step_ends, self.step_ends[1:], strict=False))
        if not self.step_ends or not increasing or self.step_ends[-1] >= len(self.input_ids):
            raise BadRecord(f"step ends {self.step_ends} do not fit {len(self.input_ids)} tokens")


class ActRow(NamedTuple):
    """Where one captured activation comes from: one line of `rows.jsonl`, in the order of the
    shards. A tuple, as there are many.

    `token` is the position in the model's input, `step` the step that the position belongs to (-1
    before the first). `reward` is the PRM's score and is set at step ends only; `correct` is the
    grader's verdict on the whole trace. `dataset` is where the problem is from, "" where that is
    unknown; `in_window` says whether the position is one of those that the model was trained on;
    `text_start` is the offset, in characters, of the token's text in the joined token texts.
    """

    problem: str
    trace: int
    step: int
    token: int
    token_id: int
    is_step_end: bool
    reward: float | None
    correct: bool | None
    dataset: str = ""
    in_window: bool = True
    text_start: int = 0
