"""A save-acts folder made by hand: four layers, of which one holds the reward and one the
verdict.
"""

from collections.abc import Callable
from pathlib import Path

import torch

from rewardscope.storage.acts import ActStore
from rewardscope.storage.files import write_json
from rewardscope.storage.sequences import ActSequence
from rewardscope.storage.shards import shard_file, write_shard
from tests.act_files import ActRow, write_act_rows

WIDTH, PLANTED, NAME = 8, 2, "math-rm-toy-1.5B_tinymath"


def make_acts(
    data: Path,
    *,
    name: str = NAME,
    problems: int = 60,
    correct: bool | None = True,
    reward: Callable[[int], float] | None = None,
    other_tokens: int = 1,
    seed: int = 0,
    flip: float = 1.0,
    dataset: str = "toy",
    shift: float = 0.0,
) -> ActStore:
    """Write the folder: layer 2 holds the reward in a linear form, layer 1 the verdict, the rest is
    noise.

    `correct` None leaves traces without a verdict; `reward` makes it of the step alone.
    `other_tokens` rows that are no step ends stand before each step end; their states are far off
    and would spoil a probe that took them. `flip` multiplies the direction of the reward, `shift`
    moves its states.
    """
    rng = torch.Generator().manual_seed(seed)
    rows, states, sequences = [], [], []
    for problem in range(problems):
        for trace in range(2):
            verdict = (problem + trace) % 3 > 0
            for step in range(4):
                for is_end in [False] * other_tokens + [True]:
                    acts = torch.randn(4, WIDTH, generator=rng) * (1 if is_end else 1000)
                    acts[1, 0] += 4 * verdict
                    planted = flip * float(acts[PLANTED] @ torch.arange(WIDTH).float()) / 40 + 0.5
                    acts[PLANTED] += shift
                    value = (planted if reward is None else reward(step)) if is_end else None
                    place = {
                        "problem": f"{dataset}/{problem}",
                        "trace": trace,
                        "step": step,
                        "token": 10 * step + is_end,
                        "token_id": 7,
                    }
                    rows.append(
                        ActRow(
                            **place,
                            dataset=dataset,
                            is_step_end=is_end,
                            reward=value,
                            correct=verdict if correct else None,
                        )
                    )
                    states.append(acts)
            sequences.append(
                ActSequence(
                    problem=f"{dataset}/{problem}",
                    trace=trace,
                    tokens=tuple(str(number) for number in range(40)),
                )
            )
    folder = data / name
    acts_NLD, names = torch.stack(states), []
    for index, chunk in enumerate(acts_NLD.split(300)):
        write_shard(shard_file(folder, index), {layer: [chunk[:, layer]] for layer in range(4)})
        names.append(f"hiddens/{index:05d}.npz")
    write_act_rows(folder, rows, sequences)
    outputs = dict.fromkeys(names, "")
    extra = {"layers": [0, 1, 2, 3], "width": WIDTH}
    write_json(
        folder / "manifest.json",
        {
            "stage": "save-acts",
            "settings": {},
            "outputs": outputs,
            "rows": len(rows),
            "extra": extra,
        },
    )
    return ActStore(folder)
