from pathlib import Path

import pytest
import torch

from rewardscope.errors import ConfigError
from rewardscope.sae.train.state import Every, RunState, parse_every
from tests.unit.sae.test_train import trained

NEVER = Every(None, None)


def test_how_often_is_read_as_steps_minutes_or_never() -> None:
    assert parse_every("500") == Every(500, None)
    assert parse_every("10m") == Every(None, 600.0)
    assert parse_every("0") == parse_every("0m") == NEVER
    for text in ("often", "-1", "5h", ""):
        with pytest.raises(ConfigError, match="--save-every"):
            parse_every(text)


def test_the_state_is_due_after_so_many_steps_or_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_steps = RunState(tmp_path, "key", every=Every(10, None))
    assert [step for step in range(1, 31) if by_steps.is_due(step)] == [10, 20, 30]
    monkeypatch.setattr("time.monotonic", lambda: 1000.0)
    by_time = RunState(tmp_path, "key", every=Every(None, 60.0))
    assert not by_time.is_due(7)
    monkeypatch.setattr("time.monotonic", lambda: 1060.0)
    assert by_time.is_due(7)
    assert not RunState(tmp_path, "key", every=NEVER).is_due(10)


def test_the_last_state_is_found_again_and_one_of_another_run_is_not_used(tmp_path: Path) -> None:
    trainer = trained(2, activation="batchtopk")
    state = RunState(tmp_path, "key", every=NEVER)
    state.save(trainer)
    trainer.step({layer: torch.randn(8, 16) for layer in trainer.layers})
    state.save(trainer)
    assert sorted(path.name for path in state.folder.iterdir()) == ["latest.json", "step_00000003"]
    other = trained(1, activation="batchtopk", seed=4)
    assert RunState(tmp_path, "key", every=NEVER).load(other) == other.n_done == 3
    for layer in trainer.layers:
        assert all(
            torch.equal(tensor, other.tensors(layer)[name])
            for name, tensor in trainer.tensors(layer).items()
        )
    assert RunState(tmp_path, "another key", every=NEVER).load(other) == 0
    assert state.folder.exists()  # it is that run's to go on with


def test_a_save_that_is_torn_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = trained(1)
    state = RunState(tmp_path, "key", every=NEVER)
    state.save(trainer)
    kept = {
        layer: {name: tensor.clone() for name, tensor in trainer.tensors(layer).items()}
        for layer in trainer.layers
    }
    trainer.step({layer: torch.randn(8, 16) for layer in trainer.layers})
    from rewardscope.sae.train import state as module

    def torn(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(module, "write_json", torn)
    with pytest.raises(OSError, match="disk full"):
        state.save(trainer)
    assert state.load(trainer) == 1
    for layer, tensors in kept.items():
        assert all(
            torch.equal(tensor, trainer.tensors(layer)[name]) for name, tensor in tensors.items()
        )
