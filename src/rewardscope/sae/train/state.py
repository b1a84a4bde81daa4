"""The state of an unfinished run: after every so many steps or minutes, all that training needs to
go on at that step.

`<run>/state/step_00001000/layer_15.safetensors` hold weights, optimizer and counts; `latest.json`,
written after them, names the step. The order of rows is a function of the step, so there is nothing
else to keep.
"""

import os
import re
import shutil
import time
from pathlib import Path
from typing import NamedTuple

import msgspec
from safetensors import SafetensorError
from safetensors.torch import load_file

from rewardscope.errors import BadRecord, ConfigError
from rewardscope.log import get_logger
from rewardscope.sae.formats.weights import save_tensors
from rewardscope.sae.train.ranks import Alone, Team
from rewardscope.sae.train.trainer import Trainer
from rewardscope.storage.files import replacing, write_json

STATE, LATEST = "state", "latest.json"
_ASK_EVERY = 10  # steps after which several processes agree on the time


class Every(NamedTuple):
    """When the state is written: after so many steps, or seconds, whichever is set; never if
    neither is.
    """

    steps: int | None
    seconds: float | None


def parse_every(text: str) -> Every:
    """Read `500` (steps), `10m` (minutes) or `0` (never). Raises: ConfigError."""
    found = re.fullmatch(r"(\d+)(m?)", text)
    if not found:
        raise ConfigError(
            f"--save-every {text}: write a number of steps such as 500, or minutes such as 10m; 0"
            " is never"
        )
    number, minutes = int(found[1]), bool(found[2])
    return Every(None if minutes else number or None, 60.0 * number or None if minutes else None)


class _Latest(msgspec.Struct):
    """Which run the state belongs to, and its step."""

    key: str
    step: int


class RunState:
    """The state folder of a run. `key` says which settings and inputs it belongs to; another's
    state is never used.

    Of several processes each writes its own layers, and reads those that it trains.
    """

    def __init__(self, run: Path, key: str, *, every: Every, team: Team | None = None) -> None:
        self.folder, self._key, self._every, self._team = run / STATE, key, every, team or Alone()
        self._saved_at = time.monotonic()

    def load(self, trainer: Trainer) -> int:
        """Bring the trainer to the step that was saved last; return it, 0 where there is none."""
        step = self._team.decide(self._saved_step)
        if not step:
            return 0
        folder = self._step_folder(step)
        for layer in trainer.layers:
            path = folder / f"layer_{layer:02d}.safetensors"
            try:
                tensors = load_file(path, device=str(trainer.options.device))
            except (SafetensorError, FileNotFoundError) as error:
                raise BadRecord(
                    f"{path} is damaged ({error}); delete {self.folder} to train from the beginning"
                ) from None
            trainer.load(layer, tensors)
        trainer.n_done = step
        get_logger().info(f"train-sae: going on after step {step} of {trainer.options.n_steps}")
        return step

    def _saved_step(self) -> int:
        latest = self.folder / LATEST
        if not latest.is_file():
            return 0
        try:
            saved = msgspec.json.decode(latest.read_bytes(), type=_Latest)
        except msgspec.DecodeError as error:
            raise BadRecord(
                f"{latest} is torn ({error}); delete {self.folder} to train from the beginning"
            ) from None
        if saved.key == self._key:
            return saved.step
        get_logger().info(
            f"train-sae: {self.folder} is kept: it is of a run with other settings, inputs or"
            " precision; delete it to drop it"
        )
        return 0

    def adopt(self, run: Path) -> None:
        """Take over the state that an older version kept in the folder of the finished run."""
        old = RunState(run, self._key, every=self._every)
        if not self.folder.exists() and old._saved_step():
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            os.replace(old.folder, self.folder)

    def is_due(self, step: int) -> bool:
        """Say whether the state should be written after `step` steps."""
        steps, seconds = self._every
        if seconds is None:
            return steps is not None and step % steps == 0
        asked = self._team.size == 1 or step % _ASK_EVERY == 0
        return asked and self._team.decide(lambda: time.monotonic() - self._saved_at >= seconds)

    def save(self, trainer: Trainer) -> None:
        """Write the state; the one before stays whole until this one is."""
        folder = self._step_folder(trainer.n_done)
        for layer in self._team.writes(trainer.layers):
            with replacing(folder / f"layer_{layer:02d}.safetensors") as temporary:
                save_tensors(
                    {name: tensor.contiguous() for name, tensor in trainer.tensors(layer).items()},
                    temporary,
                )
        if self._team.collect(None):  # in the first process, once all have written theirs
            write_json(
                self.folder / LATEST, msgspec.structs.asdict(_Latest(self._key, trainer.n_done))
            )
            for other in self.folder.glob("step_*"):
                if other.name < folder.name:  # a later one is what another process writes already
                    shutil.rmtree(other)
        self._saved_at = time.monotonic()

    def remove(self) -> None:
        """Remove all state, that of a finished run too."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _step_folder(self, step: int) -> Path:
        return self.folder / f"step_{step:08d}"
