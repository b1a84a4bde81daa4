"""What a model is shown."""

from dataclasses import dataclass

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
