"""sae-bench through the real code: two folders with planted concepts, an SAE that has them, one
that does not, and a small random PRM for the rewards.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from rewardscope.errors import ConfigError, MissingInput
from rewardscope.records import SaeBenchDifference, SaeBenchRow
from rewardscope.sae.model.checkpoint import save_sae
from rewardscope.sae.model.inference import Sae
from rewardscope.settings import Settings
from rewardscope.stage import Stage, StageConfig
from rewardscope.stages import sae_bench
from rewardscope.stages.sae_bench_rows import Split, read_bench
from rewardscope.storage.jsonl import write_rows
from rewardscope.storage.manifests import read_finished
from rewardscope.storage.tables import read_csv_as
from tests.e2e.acts_runs import LAYERS, run_stage, write_generations
from tests.unit.prms.tiny_prm import make_prm
from tests.unit.sae.planted import STEP_TAG, Acts, make_rows, write_acts

WIDTH, N_PROBLEMS = 8, 40
RIGHT, FOLDER = 2, 5  # the coordinates of correctness and of the second folder
FLAGS: dict[str, Any] = {
    "saes": ("planted",),
    "baseline": ("random",),
    "ds_name": ("math-rm-a", "math-rm-b"),
    "test_share": 0.4,
    "ridge": "1",
    "k": (1, 3),
    "device": "cpu",
}


def write_folder(home: Path, name: str, *, second: bool, seed: int) -> None:
    """Write states of which two coordinates are concepts and the others chance."""
    random = torch.Generator().manual_seed(seed)
    problems = [f"p/{number}" for number in range(N_PROBLEMS) for _ in range(2)]
    correct = [bool(torch.rand(1, generator=random) < 0.5) for _ in problems]
    rows, sequences = make_rows(
        [["a", STEP_TAG, "b", STEP_TAG]] * len(problems), problems=problems, correct=correct
    )
    states_ND = torch.rand(len(rows), WIDTH, generator=random)
    states_ND[:, RIGHT] = torch.tensor([float(bool(row.correct)) for row in rows])
    states_ND[:, FOLDER] = float(second)
    write_acts(home / name, Acts({0: states_ND}, rows, sequences))


def write_sae(home: Path, name: str, rows_FD: torch.Tensor, *, layer: int = 0, **info: Any) -> None:
    n_features, width = rows_FD.shape
    stage = Stage("train-sae", StageConfig(), inputs={}, out=home / name)
    sae = Sae(
        W_enc_DF=rows_FD.T.contiguous(),
        b_enc_F=torch.zeros(n_features),
        W_dec_FD=rows_FD,
        b_dec_D=torch.zeros(width),
        k=6,
        layer=layer,
        info=info,
    )
    with stage:
        files = save_sae(stage.work / f"layer_{layer:02d}", sae)
        held_out = [f"p/{number}" for number in range(N_PROBLEMS)]
        extra = {"layers": [layer], "held_out_problems": held_out}
        stage.finish(files, rows=0, extra=extra)


def random_rows(n: int, width: int, *, seed: int) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(n, width, generator=random), dim=1)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    home = tmp_path_factory.mktemp("bench")
    for seed, name in enumerate(("math-rm-a", "math-rm-b")):
        write_folder(home, name, second=name.endswith("b"), seed=seed)
    write_sae(home, "planted", torch.eye(WIDTH))
    write_sae(home, "random", random_rows(2 * WIDTH, WIDTH, seed=3), freeze="decoder")
    return Settings(data_dir=home, sae_checkpoint_dir=home)


def bench(settings: Settings, **flags: Any) -> tuple[list[SaeBenchRow], list[SaeBenchDifference]]:
    out = sae_bench.run(sae_bench.Config(**(FLAGS | flags)), settings)
    return (
        read_csv_as(out / sae_bench.MEASURES, SaeBenchRow),
        read_csv_as(out / sae_bench.DIFFERENCES, SaeBenchDifference),
    )


def test_the_planted_sae_stands_above_the_random_one_in_every_measure(settings: Settings) -> None:
    rows, compared = bench(settings, twins=("planted", "-"))
    own = {(row.measure, row.setting): row for row in rows if row.sae == "planted"}
    assert own["FVU", "all rows"].value < 0.1 and own["dead features", "all rows"].value == 0
    assert (
        own["stable features", "all rows"].value == 1
        and own["stable features", "all rows"].unit == "features"
    )
    assert own["sparse probe", "correct, k 1"].value == 1.0
    removal = own["spurious correlation removal", "data set b, k 1"]
    before = next(row for row in rows if row.measure == "probe fitted to a confounded set")
    assert before.setting == "data set b" and before.value < 0.8
    assert before.value + removal.value == pytest.approx(1.0)
    assert removal.controlled_by == "random features" and removal.control is not None
    assert removal.lead == pytest.approx(removal.value - removal.control)
    assert own["targeted perturbation", "correct, k 1"].value > 0.4
    found = {(row.measure, row.setting): row for row in compared}
    assert {(row.baseline, row.matched) for row in compared} == {("decoder", "nearest")}
    probe = found["sparse probe", "correct, k 1"]
    assert probe.low is not None and probe.low > 0
    assert probe.difference == pytest.approx(probe.value - probe.baseline_value)
    assert all(row.n == before.n for row in rows if row.unit == "problems")


def test_the_order_of_rows_groups_saes_by_l0(settings: Settings) -> None:
    rows, _ = bench(settings, name="order")
    first, *l0s = dict.fromkeys((row.sae, row.l0) for row in rows)
    assert first == ("states", None) and {name for name, _ in l0s} == {"planted", "random"}
    assert l0s == sorted(l0s, key=lambda each: each[1] or 0.0)
    extra = read_finished(settings.data_dir / "sae-bench" / "order").extra
    assert extra["concepts"] == ["correct", "data set b", "late step"]
    assert extra["with_step_labels"] == 0 and extra["test_problems_trained_on"] == {}


def test_what_does_not_go_together_is_one_line(settings: Settings) -> None:
    with pytest.raises(ConfigError, match="--twins names 1 runs for 2 SAEs"):
        bench(settings, twins=("planted",))
    with pytest.raises(MissingInput, match="math-rm-c is not there"):
        bench(settings, ds_name=("math-rm-c",))
    with pytest.raises(ConfigError, match="two of them have the same short name"):
        bench(settings, baseline=("planted",))
    with pytest.raises(ConfigError, match="at least 1"):
        bench(settings, k=(0,))


def label_steps(source: Path) -> None:
    """Give every trace labels: the first step is right, the others are wrong."""
    rows = [json.loads(line) for line in source.read_text().splitlines()]
    for row in rows:
        for trace in row["traces"]:
            trace["labels"] = [step == 0 for step in range(len(trace["steps"]))]
    write_rows(source, rows)


def test_rewards_kept_stand_beside_the_rest_and_labels_of_steps_count(tmp_path: Path) -> None:
    prm = str(make_prm(tmp_path / "prm", layers=LAYERS))
    source = write_generations(tmp_path / "toy.jsonl", n=20, prm=prm)
    label_steps(source)
    folder = run_stage(source, prm=prm, positions="all-tokens", layers="1")
    width = 32
    write_sae(tmp_path, "both", torch.cat([torch.eye(width), -torch.eye(width)]), layer=1)
    write_sae(tmp_path, "few", random_rows(64, width, seed=1), layer=1, freeze="encoder")
    settings = Settings(data_dir=tmp_path, sae_checkpoint_dir=tmp_path)
    rows, compared = bench(
        settings,
        saes=("both",),
        baseline=("few",),
        ds_name=(folder.name,),
        generations="toy",
        test_share=0.5,
    )
    kept = {row.sae: row for row in rows if row.measure == "reward kept"}
    assert set(kept) == {"both", "few"} and all(row.value <= 1 for row in kept.values())
    assert "reward kept" in {row.measure for row in compared}
    data = read_bench([folder], Split(0.5, 0, 5), most=10**6)
    steps_N = data.stores[0].rows.step_N[data.taken[0]]
    assert data.step_labels == len(steps_N) > 0
    assert data.concepts["correct"].tolist() == [step == 0 for step in steps_N.tolist()]
