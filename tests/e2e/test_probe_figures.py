"""The figures of probes, transfer and reward patterns from results of the tasks themselves."""

from pathlib import Path

import pytest

from rewardscope.errors import MissingInput
from rewardscope.settings import Settings
from rewardscope.stages import figures, probe_transfer, reward_patterns, train_linreg
from rewardscope.storage.sequence_files import SEQUENCES, SequenceWriter
from rewardscope.storage.sequences import ActSequence
from tests.e2e.toy_acts import make_acts
from tests.unit.figures.looking import assert_readable

NAMES = ("math-rm-a_toy", "math-rm-b_toy")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a data folder with two folders of states and everything that is drawn from them."""
    data = tmp_path_factory.mktemp("data")
    for seed, name in enumerate(NAMES):
        store = make_acts(data, name=name, seed=seed)
        sequences = [
            ActSequence(
                problem=f"toy/{problem}",
                trace=trace,
                tokens=("x",) * 40,
                step_ends=(1, 11, 21, 31),
                scores=(0.9, 0.8, 0.7, 0.9 if (problem + trace) % 3 else 0.2),
                correct=(problem + trace) % 3 > 0,
            )
            for problem in range(60)
            for trace in range(2)
        ]
        with SequenceWriter(store.folder / SEQUENCES) as out:
            for sequence in sequences:
                out.add(sequence)
    settings = Settings(data_dir=data)
    for target in ("reward", "correct"):
        train_linreg.run(train_linreg.Config(ds_name=NAMES[0], target=target), settings)
        probe_transfer.run(probe_transfer.Config(ds_names=NAMES, target=target), settings)
    reward_patterns.run(reward_patterns.Config(ds_names=NAMES), settings)
    return data


@pytest.mark.parametrize(
    ("name", "panels"), [("probes", 2), ("transfer", 8), ("reward_patterns", 4), ("rewards", 2)]
)
def test_each_figure_is_drawn_from_the_results_of_its_task(
    data: Path, name: str, panels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = []
    module = figures.importlib.import_module(f"figures.fig_{name}")
    draw = module.draw
    monkeypatch.setattr(module, "draw", lambda paths: drawn.append(draw(paths)) or drawn[-1])
    (out,) = figures.run(figures.Config(only=name), Settings(data_dir=data))
    assert_readable(drawn[0])
    assert out.stat().st_size > 10_000 and out.with_suffix(".pdf").is_file()
    assert (
        sum(axes.has_data() for axes in drawn[0].axes if axes.get_label() != "<colorbar>") == panels
    )


def test_a_picture_whose_results_are_gone_is_named_as_stale(tmp_path: Path) -> None:
    picture = tmp_path / "figures" / "probes.png"
    picture.parent.mkdir()
    picture.write_bytes(b"of earlier results")
    with pytest.raises(MissingInput, match=r"probes\.png is stale: it shows earlier results"):
        figures.run(figures.Config(only="probes"), Settings(data_dir=tmp_path))


@pytest.mark.parametrize("name", ["probes", "transfer", "reward_patterns", "rewards"])
def test_without_results_a_figure_names_its_task(tmp_path: Path, name: str) -> None:
    with pytest.raises(MissingInput, match="run invoke"):
        figures.run(figures.Config(only=name), Settings(data_dir=tmp_path))
