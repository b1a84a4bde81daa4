"""What other stages say of a feature stands in its card, and the pages follow when it changes."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from rewardscope.features.ablation_table import AblationRow
from rewardscope.features.injection_table import VERDICT_FIELDS, VerdictRow
from rewardscope.paths import feature_ablate_dir, injection_dir
from rewardscope.sae.model.runs import find_sae
from rewardscope.settings import Settings
from rewardscope.stage import Stage, StageConfig
from rewardscope.stages import feature_label
from rewardscope.storage.tables import columns_of, write_csv
from tests.e2e.browser import needs_chromium, visit
from tests.e2e.planted_features import (
    DASH,
    NEWLINE,
    diff,
    layer_pages,
    settings_on,
    show_dash,
    write_inputs,
    write_run,
)

EFFECT = AblationRow(
    layer=0,
    kind="feature",
    name=str(NEWLINE),
    n_features=1,
    edit="ablate",
    measure="auroc",
    original=0.75,
    change=-0.125,
    low=-0.25,
    high=-0.0625,
    n_problems=12,
    n_controls=20,
    control=0.03125,
    control_low=-0.5,
    control_high=0.5,
    seed=0,
)
VERDICT = VerdictRow(
    layer=0,
    feature=NEWLINE,
    verdict="token-driven",
    reason=None,
    strategy="bigram",
    net=0.75,
    low=0.5,
    high=0.875,
    share=0.8,
    share_control=0.05,
    n=11,
)


def put(settings: Settings, stage: str, out: Path, name: str, rows: list[Any]) -> None:
    """Write a finished result of the SAE by hand."""
    made = Stage(stage, StageConfig(force=True), inputs={"sae": sae_root(settings)}, out=out)
    with made:
        write_csv(made.work / name, rows, fields=columns_of(type(rows[0])))
        made.finish([made.work / name], rows=len(rows))


def sae_root(settings: Settings) -> Path:
    return find_sae(DASH["sae"], settings).root


def put_all(settings: Settings) -> None:
    root, data = sae_root(settings), settings.data_dir
    label = feature_label.Config(ds_names=DASH["ds_names"], sae=DASH["sae"], device="cpu")
    feature_label.run(label, settings)
    put(settings, "inject", injection_dir(data, root, (), "some"), "verdicts.csv", [VERDICT])
    others = [
        msgspec.structs.replace(EFFECT, kind="set", name="chosen"),
        msgspec.structs.replace(EFFECT, layer=5, change=0.5),
    ]
    out = feature_ablate_dir(data, root, "solved")
    put(settings, "feature-ablate", out, "results.csv", [EFFECT, *others])


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    home = tmp_path_factory.mktemp("known")
    made = settings_on(write_inputs(home), home / "data")
    write_run(home / "checkpoints" / "twin")
    diff(made, twin=("twin",))
    put_all(made)
    return made


def known(settings: Settings, feature: int, **flags: Any) -> dict[str, Any]:
    features = layer_pages(show_dash(settings, **flags), 0)["features"]
    return next(one for one in features if one["id"] == feature).get("known", {})


def test_a_card_has_what_every_other_table_says_of_its_feature(settings: Settings) -> None:
    of_feature = known(settings, NEWLINE)
    (effect,) = of_feature["ablation"]
    assert (effect["result"], effect["measure"], effect["n"]) == ("solved", "auroc", 12)
    assert (effect["value"], effect["low"], effect["high"]) == (-0.125, -0.25, -0.0625)
    assert list(effect["against"]) == [0.03125, -0.5, 0.5]
    (injection,) = of_feature["injections"]
    assert (injection["verdict"], injection["net"], injection["n"]) == ("token-driven", 0.75, 11)
    (label,) = of_feature["labels"]
    assert (label["category"], label["purity"]) == ("whitespace", 1.0)
    assert label["lift"] == pytest.approx(1 / label["base_rate"], rel=1e-3)
    (controls,) = of_feature["controls"]
    named = [*controls["survived"], *controls["failed"], *controls["unknown"]]
    assert set(named) == {"token", "category", "position", "solved", "shared", "all"}
    assert controls["favours"] == "reasoning" and "token" not in controls["survived"]
    twin = of_feature["twin"]
    assert (twin["cosine"], twin["stable"], list(twin["runs"])) == (1.0, True, ["twin"])


def test_pages_are_made_again_when_another_table_changes(settings: Settings) -> None:
    out = show_dash(settings)
    before = (out / "index.html").stat().st_mtime_ns
    assert (show_dash(settings) / "index.html").stat().st_mtime_ns == before
    changed = msgspec.structs.replace(VERDICT, verdict="context-dependent")
    place = injection_dir(settings.data_dir, sae_root(settings), (), "some")
    put(settings, "inject", place, "verdicts.csv", [changed])
    assert known(settings, NEWLINE)["injections"][0]["verdict"] == "context-dependent"
    put(settings, "inject", place, "verdicts.csv", [VERDICT])


def test_results_of_another_state_of_the_sae_are_left_out_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = settings_on(write_inputs(tmp_path), tmp_path / "data")
    place = injection_dir(made.data_dir, sae_root(made), (), "old")
    stage = Stage("inject", StageConfig(), inputs={"sae": tmp_path / "math-rm-plain"}, out=place)
    with stage:
        write_csv(stage.work / "verdicts.csv", [VERDICT], fields=VERDICT_FIELDS)
        stage.finish([stage.work / "verdicts.csv"], rows=1)
    assert known(made, NEWLINE) == {}
    assert f"{place} is left out" in caplog.text and "invoke inject again" in caplog.text


@needs_chromium
def test_the_panels_of_a_card_say_it(settings: Settings, tmp_path: Path) -> None:
    seen = visit(show_dash(settings) / "layer_00.html", tmp_path, hash=f"#{NEWLINE}")
    assert (seen.console, seen.requests) == ([], [])
    for text in (
        "<b>whitespace</b> 100 % of its activation is on whitespace",
        "survives category",
        "too few rows for token",
        "cosine 1.00, correlation 1.00: stable (twin)",
        "<b>token-driven</b>: by bigram, +75 % [+50, +88] of its activation",
        "−0.125 [−0.250, −0.063]",
        "+0.031 [−0.500, +0.500]",
        "Fires together with",
    ):
        assert text in seen.dom, text
