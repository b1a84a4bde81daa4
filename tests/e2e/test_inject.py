"""inject through the real code, on a small random PRM."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rewardscope.errors import ConfigError, MissingInput, UnknownName
from rewardscope.features.injection import windows
from rewardscope.features.injection_table import STRATEGIES, StrategyRow, VerdictRow, VerdictShare
from rewardscope.sae.model.checkpoint import save_sae
from rewardscope.sae.model.inference import Sae
from rewardscope.settings import Settings
from rewardscope.stages import inject
from rewardscope.storage.acts import ActStore
from rewardscope.storage.effect_files import read_effects
from rewardscope.storage.files import write_json
from rewardscope.storage.tables import read_csv_as
from tests.e2e.acts_runs import LAYERS, run_stage, write_generations
from tests.unit.prms.tiny_prm import make_prm

WIDTH, F = 32, 24
FEATURES = (3, 8)
FLAGS: dict[str, Any] = {
    "reasoning": "math-rm-reasoner",
    "instruct": "math-rm-plain",
    "sae": "run",
    "layers": "1",
    "features": FEATURES,
    "texts": 16,
    "per_100": 5.0,
    "min_count": 2,
    "device": "cpu",
}


def random_sae(layer: int, *, threshold: bool) -> Sae:
    random = torch.Generator().manual_seed(layer)
    directions_FD = torch.nn.functional.normalize(torch.randn(F, WIDTH, generator=random), dim=1)
    return Sae(
        W_enc_DF=directions_FD.T.contiguous(),
        b_enc_F=torch.zeros(F),
        W_dec_FD=directions_FD,
        b_dec_D=torch.zeros(WIDTH),
        k=None if threshold else 4,
        threshold_F=torch.full((F,), 0.5) if threshold else None,
        layer=layer,
        info={},
    )


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a PRM, the states of two generations files, and an SAE run of two layers."""
    home = tmp_path_factory.mktemp("world")
    prm = str(make_prm(home / "prm", layers=LAYERS))
    for name, n in (("reasoner", 20), ("plain", 18)):
        path = write_generations(home / f"{name}.jsonl", n=n)
        run_stage(path, prm=prm, positions="all-tokens")
    for layer in (1, 2):
        save_sae(home / "run" / f"layer_{layer:02d}", random_sae(layer, threshold=layer == 1))
    write_json(home / "run" / "manifest.json", {"stage": "train-sae", "extra": {"layers": [1, 2]}})
    return home


def put_in(world: Path, name: str, **flags: Any) -> Path:
    settings = Settings(data_dir=world, sae_checkpoint_dir=world)
    chosen: dict[str, Any] = FLAGS | {"name": name} | flags
    return inject.run(inject.Config(**chosen), settings)


def window_maxima(store: ActStore, layer: int, feature: int, *, size: int) -> dict[str, list]:
    """Return the maxima of windows by problem of each trace, from the states on disk."""
    sae, rows = random_sae(layer, threshold=layer == 1), store.rows
    pre_NF = store.layer(layer) @ sae.W_enc_DF
    if sae.threshold_F is None:
        least_N1 = pre_NF.topk(4, dim=1).values[:, -1:]
        value_N = torch.where(pre_NF >= least_N1, pre_NF, 0)[:, feature].clamp_min(0).numpy()
    else:
        value_N = torch.where(pre_NF > 0.5, pre_NF, 0)[:, feature].numpy()
    found: dict[str, list] = {}
    for number in range(int(rows.sequence_N.max()) + 1):
        mine = np.flatnonzero(rows.sequence_N == number)
        window_L = windows(len(mine), size)
        maxima = [value_N[mine][window_L == w].max() for w in range(window_L[-1] + 1)]
        problem = rows.problems[int(rows.problem_N[mine[0]])]
        found.setdefault(problem, []).append((int(rows.trace_N[mine[0]]), maxima))
    return found


@pytest.mark.parametrize("layer", [1, 2])
def test_plain_and_reasoning_are_those_of_the_states_on_disk(world: Path, layer: int) -> None:
    out = put_in(world, f"levels-{layer}", layers=str(layer))
    rows = read_csv_as(out / "strategies.csv", StrategyRow)
    assert {row.feature for row in rows} == set(FEATURES)
    for row in rows:
        plain = window_maxima(ActStore(world / "math-rm-plain"), layer, row.feature, size=20)
        # the first trace that was saved of each of the first problems
        first = [traces[0][1] for traces in plain.values()][:16]
        assert row.plain == pytest.approx(np.mean([m for ms in first for m in ms]), abs=1e-4)
        fires = [
            maximum
            for traces in window_maxima(
                ActStore(world / "math-rm-reasoner"), layer, row.feature, size=20
            ).values()
            for _, maxima in traces
            for maximum in maxima
            if maximum > 0
        ]
        assert row.reasoning == pytest.approx(np.mean(fires), abs=1e-4)
        surplus = row.reasoning - row.plain
        assert row.share == pytest.approx((row.injected - row.plain) / surplus, rel=5e-3)
        assert row.net == pytest.approx(row.share - row.share_control, abs=1e-4)
        assert (row.texts, row.n) == (16, 16)
        assert len(json.loads(row.units)) <= 5


def test_tables_agree_with_one_another(world: Path) -> None:
    out = put_in(world, "tables")
    strategies = read_csv_as(out / "strategies.csv", StrategyRow)
    verdicts = read_csv_as(out / "verdicts.csv", VerdictRow)
    shares = read_csv_as(out / "shares.csv", VerdictShare)
    effects = read_effects(out / "effects.csv")
    assert sum(row.count for row in shares) == len(verdicts) == 2
    for verdict in verdicts:
        mine = [row for row in strategies if row.feature == verdict.feature]
        assert verdict.net == max(row.net for row in mine)
        best = next(row for row in mine if row.strategy == verdict.strategy)
        assert (best.net, best.share) == (verdict.net, verdict.share)
        # the truly largest is no less than each, and the interval allows for the choice
        assert verdict.high is not None
        assert verdict.high >= max(row.high for row in mine if row.high is not None) - 1e-6
    by_method = {(effect.method, effect.place.component): effect for effect in effects}
    row = strategies[0]
    assert row.strategy in STRATEGIES
    own = by_method[f"inject {row.strategy}", f"feature {row.feature}"]
    assert own.estimate.n == 16
    with np.load(out / "layer_01.npz") as kept:  # a problem counts once, whatever its length
        place, s = FEATURES.index(row.feature), STRATEGIES.index(row.strategy)
        above_T = kept["injected_STF"][s, :, place] - kept["plain_TF"][:, place]
        mean = np.mean(above_T / kept["windows_T"])
    assert own.estimate.value == pytest.approx(mean / (row.reasoning - row.plain), rel=1e-3)


def test_a_killed_run_goes_on_and_gives_the_same(
    world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rewardscope.features import injection_forward

    whole = put_in(world, "whole", layers="1")

    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(inject, "_write", stop)
        with pytest.raises(KeyboardInterrupt):
            put_in(world, "killed", layers="1")
    with monkeypatch.context() as patched:
        patched.setattr(injection_forward, "measure", stop)
        out = put_in(world, "killed", layers="1")
    for name in ("verdicts.csv", "shares.csv", "strategies.csv", "effects.csv"):
        assert (out / name).read_bytes() == (whole / name).read_bytes()


@pytest.mark.parametrize(
    ("flags", "error", "words"),
    [
        ({"layers": "all"}, ConfigError, "of one layer"),
        ({"features": (F,)}, UnknownName, "0 to 23"),
        ({"features": ()}, MissingInput, "run invoke feature-diff first"),
        ({"prm": "other/model"}, ConfigError, "pass that"),
        ({"reasoning": "math-rm-ends"}, ConfigError, "--positions all-tokens"),
    ],
)
def test_what_cannot_work_is_one_line(
    world: Path, flags: dict[str, Any], error: type[Exception], words: str
) -> None:
    if not (world / "math-rm-ends").exists():
        run_stage(world / "plain.jsonl", prm=str(world / "prm"), name="ends")
    with pytest.raises(error, match=words):
        put_in(world, "refused", **flags)
