import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rewardscope.dashboard.layer_data import AFTER, BEFORE
from rewardscope.errors import ConfigError, MissingInput, PipelineError
from rewardscope.features.diff_table import FeatureDiff, find_parts, merge_parts
from rewardscope.sae.model.checkpoint import Sae, save_sae
from rewardscope.settings import Settings
from rewardscope.stage import Stage, StageConfig
from rewardscope.stages import dash, feature_diff
from rewardscope.storage.tables import read_csv, read_json
from tests.unit.sae.planted import STEP_TAG, Acts, make_rows, write_acts

WIDTH, LAYERS = 8, (0, 5)
NEWLINE, BOTH, HOSTILE_FEATURE = 2, 3, 4  # features by what they were planted on
HOSTILE = ["<script>alert(1)</script>", "</script>", "<!--", "\u2028", "{{data}}"]
DIFF: dict[str, Any] = {
    "reasoning": ("math-rm-reasoner",),
    "instruct": ("math-rm-plain",),
    "sae": "planted",
    "device": "cpu",
}
DASH: dict[str, Any] = {
    "ds_names": ("math-rm-plain", "math-rm-reasoner"),
    "sae": "planted",
    "device": "cpu",
}


def make_acts(*, reasoning: bool, seed: int) -> Acts:
    """Return states whose coordinates are features: 0 always, NEWLINE on line breaks, which only
    reasoning traces have.
    """
    rng = np.random.default_rng(seed)
    problems, tokens = [], []
    for problem in range(12):
        for _ in range(2):
            problems.append(f"p/{problem}")
            pieces = ["Wait", ".", " 7", *HOSTILE, *(["\n\n"] * 3 if reasoning else [])]
            tokens.append(
                [
                    text
                    for _ in range(3)
                    for text in (*rng.choice(pieces, size=14).tolist(), STEP_TAG)
                ]
            )
    rows, sequences = make_rows(
        tokens, problems=problems, correct=[bool(b) for b in rng.random(len(tokens)) < 0.5]
    )
    texts = [text for trace in tokens for text in trace]
    states = np.zeros((len(rows), WIDTH), dtype=np.float32)
    states[:, 0] = 0.5
    states[[text == "\n\n" for text in texts], NEWLINE] = 3.0
    states[rng.random(len(rows)) < 0.2, BOTH] = 2.0
    states[[text in HOSTILE for text in texts], HOSTILE_FEATURE] = rng.uniform(1, 4)
    return Acts({layer: torch.from_numpy(states) for layer in LAYERS}, rows, sequences)


def write_run(folder: Path) -> None:
    """Write an SAE run whose features are the coordinates."""
    eye = torch.eye(WIDTH)
    stage = Stage("train-sae", StageConfig(), inputs={}, out=folder)
    with stage:
        files = []
        for layer in LAYERS:
            sae = Sae(
                W_enc_DF=eye.clone(),
                b_enc_F=torch.zeros(WIDTH),
                W_dec_FD=eye.clone(),
                b_dec_D=torch.zeros(WIDTH),
                k=3,
                layer=layer,
                info={},
            )
            files += save_sae(folder / f"layer_{layer:02d}", sae)
        stage.finish(files, rows=0, extra={"layers": list(LAYERS)})


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("inputs")
    write_acts(home / "math-rm-reasoner", make_acts(reasoning=True, seed=0))
    write_acts(home / "math-rm-plain", make_acts(reasoning=False, seed=1))
    write_acts(home / "math-rm-plain-2", make_acts(reasoning=False, seed=2))
    write_run(home / "checkpoints" / "planted")
    return home


@pytest.fixture
def settings(inputs: Path, tmp_path: Path) -> Settings:
    data = tmp_path / "data"
    data.mkdir()
    for name in ("math-rm-reasoner", "math-rm-plain", "math-rm-plain-2"):
        (data / name).symlink_to(inputs / name)
    return Settings(data_dir=data, sae_checkpoint_dir=inputs / "checkpoints")


def diff(settings: Settings, **flags: Any) -> Path:
    return feature_diff.run(feature_diff.Config(**(DIFF | flags)), settings)


def show_dash(settings: Settings, **flags: Any) -> Path:
    return dash.run(dash.Config(**(DASH | flags)), settings)


def page_data(page: Path) -> dict[str, Any]:
    found = re.findall(
        r'<script type="application/json" id="data">(.*?)</script>',
        page.read_text(encoding="utf-8"),
        flags=re.DOTALL,
    )
    return json.loads(found[0])


def by_feature(rows: list[FeatureDiff], *, layer: int) -> dict[int, FeatureDiff]:
    return {row.feature: row for row in rows if row.layer == layer}


def test_the_planted_feature_is_found_and_said_to_be_formatting(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    out = diff(settings)
    assert out == settings.data_dir / "features" / "planted" / "diff" / "part_01_of_01.csv"
    rows = by_feature(merge_parts(out.parent), layer=5)
    planted = rows[NEWLINE]
    assert (planted.favours, planted.top_category, planted.share_formatting) == (
        "reasoning",
        "whitespace",
        1.0,
    )
    texts = [
        text for trace in make_acts(reasoning=True, seed=0).sequences for text in trace["tokens"]
    ]
    assert planted.rate_reasoning == pytest.approx(texts.count("\n\n") / len(texts), rel=1e-5)
    assert planted.rate_instruct == 0.0
    assert planted.difference == pytest.approx(planted.rate_reasoning)
    assert planted.low < planted.difference < planted.high
    assert planted.mean_reasoning == pytest.approx(3 * planted.rate_reasoning, rel=1e-5)
    assert planted.q_value < 0.01
    assert (planted.n_rows_reasoning, planted.n_problems_reasoning) == (len(texts), 12)
    assert rows[BOTH].favours == rows[0].favours == "neither"
    assert 7 not in rows  # it fires nowhere
    shown = capsys.readouterr().out
    assert "1.000" in shown and "2 of 8 features favour reasoning" in shown
    assert read_json(out.with_name(f"{out.name}.manifest.json"))["skipped"] == {
        "features that fire on neither side": 8
    }


def test_parts_together_are_the_whole_and_every_unit_is_in_one(settings: Settings) -> None:
    instruct = ("math-rm-plain", "math-rm-plain-2")
    whole = read_csv(diff(settings, instruct=instruct))
    parts = [diff(settings, instruct=instruct, part=part, total=3) for part in (1, 2, 3)]
    cells = [read_csv(path) for path in parts]
    assert [len({(row["layer"], row["instruct"]) for row in part}) for part in cells] == [1, 1, 2]
    assert [row for part in cells for row in part] == whole
    assert len(merge_parts(parts[0].parent)) == len(whole)


def test_a_part_without_work_is_a_table_with_its_header_only(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    out = diff(settings, part=1, total=10)
    lines = out.read_text().splitlines()
    assert len(lines) == 1 and lines[0].startswith("layer,reasoning,instruct,feature")
    assert read_json(out.with_name(f"{out.name}.manifest.json"))["extra"] == {"units": 0}


def test_merging_names_the_parts_that_are_missing(settings: Settings) -> None:
    folder = diff(settings, part=2, total=4).parent
    with pytest.raises(MissingInput, match="parts 1,3,4 of 4 are not there"):
        merge_parts(folder)
    for part in (1, 3, 4):
        diff(settings, part=part, total=4)
    assert len(find_parts(folder)) == 4
    with pytest.raises(MissingInput, match="no results; run invoke feature-diff"):
        merge_parts(folder.parent / "nothing")


def test_parts_made_with_different_settings_are_not_mixed(settings: Settings) -> None:
    folder = diff(settings, part=1, total=2).parent
    diff(settings, part=2, total=2, seed=1)
    with pytest.raises(MissingInput, match="different inputs or settings"):
        merge_parts(folder)


def test_thresholds_layers_and_resamples_change_the_table(settings: Settings) -> None:
    strict = by_feature(merge_parts(diff(settings, fdr=1e-30).parent), layer=0)
    assert strict[NEWLINE].favours == "neither"
    few = by_feature(
        merge_parts(diff(settings, layers="0", resamples=3, force=True).parent), layer=0
    )
    assert (few[BOTH].low, few[BOTH].high) != (strict[BOTH].low, strict[BOTH].high)
    loose = merge_parts(diff(settings, layers="5", min_log2_ratio=0.0, force=True).parent)
    assert {row.layer for row in loose} == {5}
    assert by_feature(loose, layer=5)[HOSTILE_FEATURE].favours == "instruct"
    steep = merge_parts(diff(settings, layers="5", min_log2_ratio=5.0, force=True).parent)
    assert by_feature(steep, layer=5)[HOSTILE_FEATURE].favours == "neither"


def test_the_dashboard_shows_what_was_planted(settings: Settings) -> None:
    diff(settings)
    out = show_dash(settings)
    assert sorted(path.name for path in out.iterdir()) == [
        "index.html",
        "layer_00.html",
        "layer_05.html",
        "manifest.json",
    ]
    data = page_data(out / "layer_05.html")
    features = {feature["id"]: feature for feature in data["features"]}
    newline = features[NEWLINE]
    assert newline["texts"] == [["\n\n", 1.0]]
    assert (newline["mean"], newline["max"]) == (3.0, 3.0)
    assert newline["rates"][0] == 0.0
    assert newline["diffs"][0][6] == "reasoning"
    assert newline["n"] == round(newline["rates"][1] * data["data_sets"][1]["rows"])
    rewards = features[0]["reward"]
    assert (rewards["fires"], rewards["n_elsewhere"], rewards["difference"]) == (0.5, 0, None)
    for feature in data["features"]:
        assert len(feature["examples"]) <= 12
        for number, peak, start, end, values in feature["examples"]:
            segment, activations = data["segments"][number], dict(values)
            assert peak - start <= BEFORE and end - peak - 1 <= AFTER and end <= len(segment[2])
            assert activations[peak] == pytest.approx(max(activations.values()))
    entry = page_data(out / "index.html")["entries"][1]
    assert (entry["layer"], entry["n_shown"], entry["reasoning"], entry["formatting"]) == (
        5,
        len(features),
        1,
        1,
    )


def test_contexts_are_the_text_of_their_trace(settings: Settings) -> None:
    data = page_data(show_dash(settings, layers="0") / "layer_00.html")
    made = {number: make_acts(reasoning=bool(number), seed=1 - number) for number in (0, 1)}
    for trace_number, first, codes, marks, _more in data["segments"]:
        trace = data["traces"][trace_number]
        sequence = next(
            s
            for s in made[trace["data_set"]].sequences
            if (s["problem"], s["trace"]) == (trace["problem"], trace["trace"])
        )
        assert [data["tokens"][code] for code in codes] == sequence["tokens"][
            first : first + len(codes)
        ]
        assert [first + at for at, _step, _score in marks] == [
            end for end in sequence["step_ends"] if first <= end < first + len(codes)
        ]


def test_hostile_tokens_never_reach_a_page_raw_and_a_feature_stays_small(
    settings: Settings,
) -> None:
    page = show_dash(settings, layers="0") / "layer_00.html"
    text = page.read_text(encoding="utf-8")
    data = page_data(page)
    assert set(HOSTILE) <= set(data["tokens"])
    for hostile in ("<script>alert", "\u2028"):
        assert hostile not in text
    assert text.count("</script>") == 2
    assert text.count("<!--") == 0
    empty = len(page.with_name("index.html").read_text(encoding="utf-8"))
    assert (len(text) - empty) / len(data["features"]) < 30 * 1024


def test_top_examples_and_by_choose_what_is_shown(settings: Settings) -> None:
    data = page_data(show_dash(settings, layers="0", top=2, examples=3) / "layer_00.html")
    mass = {
        f["id"]: f["mass"]
        for f in page_data(show_dash(settings, layers="0", force=True) / "layer_00.html")[
            "features"
        ]
    }
    assert [f["id"] for f in data["features"]] == sorted(mass, key=lambda feature: -mass[feature])[
        :2
    ]
    assert all(len(f["examples"]) == 3 for f in data["features"])
    with pytest.raises(
        MissingInput, match="no results for --by diff; run invoke feature-diff first"
    ):
        show_dash(settings, by="diff", force=True)
    diff(settings)
    by_diff = page_data(
        show_dash(settings, layers="0", top=1, by="diff", force=True) / "layer_00.html"
    )
    assert [f["id"] for f in by_diff["features"]] == [NEWLINE]


def test_a_second_run_skips_and_new_results_of_feature_diff_count_as_new_input(
    settings: Settings,
) -> None:
    written = (show_dash(settings) / "manifest.json").stat().st_mtime_ns
    assert (show_dash(settings) / "manifest.json").stat().st_mtime_ns == written
    diff(settings, part=1, total=2)
    assert (show_dash(settings) / "manifest.json").stat().st_mtime_ns == written
    diff(settings, part=2, total=2)
    assert (show_dash(settings) / "manifest.json").stat().st_mtime_ns > written


def test_incomplete_results_of_feature_diff_are_left_out_unless_they_are_needed(
    settings: Settings,
) -> None:
    diff(settings, part=1, total=2)
    assert page_data(show_dash(settings, layers="0") / "layer_00.html")["pairs"] == []
    with pytest.raises(MissingInput, match="parts 2 of 2 are not there"):
        show_dash(settings, by="diff", force=True)


@pytest.mark.parametrize(
    ("stage", "flags", "message"),
    [
        (diff, {"sae": None}, "--sae RUN"),
        (diff, {"sae": "nothing"}, "SAE nothing is neither there"),
        (diff, {"reasoning": ("nothing",)}, "nothing is not there; make it with invoke save-acts"),
        (diff, {"instruct": ()}, "each need at least one folder"),
        (diff, {"part": 3, "total": 2}, "--part 3 --total 2"),
        (diff, {"layers": "1"}, "layer 1"),
        (diff, {"fdr": 1.0}, "--fdr 1.0"),
        (diff, {"min_log2_ratio": -1.0}, "--min-log2-ratio -1.0"),
        (diff, {"resamples": 0}, "--resamples 0"),
        (show_dash, {"sae": None}, "--sae RUN"),
        (
            show_dash,
            {"ds_names": ("nothing",)},
            "nothing is not there; make it with invoke save-acts",
        ),
        (show_dash, {"ds_names": ()}, "--ds-names is empty"),
        (show_dash, {"top": 0}, "--top 0"),
        (show_dash, {"examples": 0}, "--examples 0"),
    ],
)
def test_what_cannot_work_is_said_in_one_line(
    settings: Settings, stage: Any, flags: dict[str, Any], message: str
) -> None:
    with pytest.raises((ConfigError, MissingInput), match=message) as error:
        stage(settings, **flags)
    assert "\n" not in str(error.value)


def test_states_of_another_width_are_refused(settings: Settings) -> None:
    rows, sequences = make_rows([["a", STEP_TAG]] * 2)
    write_acts(
        settings.data_dir / "math-rm-wide",
        Acts({layer: torch.zeros(4, 9) for layer in LAYERS}, rows, sequences),
    )
    for stage, flags in (
        (diff, {"instruct": ("math-rm-wide",)}),
        (show_dash, {"ds_names": ("math-rm-wide",)}),
    ):
        with pytest.raises(
            PipelineError,
            match=r"the SAE of layer 0 has width 8, the activations of .*math-rm-wide have 9",
        ):
            stage(settings, **flags)


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium")
def test_a_browser_shows_features_and_hostile_tokens_as_text(settings: Settings) -> None:
    diff(settings)
    page = show_dash(settings, layers="0") / "layer_00.html"
    command = [
        "chromium",
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--dump-dom",
        f"file://{page}#{HOSTILE_FEATURE}",
    ]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    assert f"Feature {HOSTILE_FEATURE}" in shown
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in shown
    assert shown.count('<div class="context">') == 12
    assert shown.count("<tr data-id=") == len(page_data(page)["features"])
