from pathlib import Path
from typing import Any

import pytest
import torch

from rewardscope.dashboard.layer_data import AFTER, BEFORE
from rewardscope.errors import ConfigError, MissingInput, PipelineError
from rewardscope.features.diff_table import merge_parts
from rewardscope.settings import Settings
from rewardscope.storage.tables import read_json
from tests.e2e.planted_features import (
    BOTH,
    HOSTILE,
    LAYERS,
    NEWLINE,
    by_feature,
    diff,
    layer_pages,
    make_acts,
    page_data,
    settings_on,
    show_dash,
    write_inputs,
)
from tests.unit.sae.planted import STEP_TAG, Acts, make_rows, write_acts


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_inputs(tmp_path_factory.mktemp("inputs"))


@pytest.fixture
def settings(inputs: Path, tmp_path: Path) -> Settings:
    return settings_on(inputs, tmp_path / "data")


def test_the_planted_feature_is_found_and_said_to_be_formatting(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    out = diff(settings)
    assert out == settings.data_dir / "features" / "planted" / "diff" / "part_01_of_01.parquet"
    rows = by_feature(merge_parts(out.parent), layer=5)
    planted = rows[NEWLINE]
    assert (planted.favours, planted.top_category, planted.share_formatting) == (
        "reasoning",
        "whitespace",
        1.0,
    )
    texts = [text for trace in make_acts(reasoning=True, seed=0).sequences for text in trace.tokens]
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


def test_the_dashboard_shows_what_was_planted(settings: Settings) -> None:
    diff(settings)
    out = show_dash(settings)
    assert sorted(path.name for path in out.iterdir()) == [
        "compare.html",
        "index.html",
        "layer_00",
        "layer_00.html",
        "layer_05",
        "layer_05.html",
        "manifest.json",
        "traces",
        "traces.html",
    ]
    data = layer_pages(out, 5)
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
    data = layer_pages(show_dash(settings, layers="0"), 0)
    made = {number: make_acts(reasoning=bool(number), seed=1 - number) for number in (0, 1)}
    for trace_number, first, codes, marks, _more in data["segments"]:
        trace = data["traces"][trace_number]
        sequence = next(
            s
            for s in made[trace["data_set"]].sequences
            if (s.problem, s.trace) == (trace["problem"], trace["trace"])
        )
        assert [data["tokens"][code] for code in codes] == list(
            sequence.tokens[first : first + len(codes)]
        )
        assert [first + at for at, _step, _score in marks] == [
            end for end in sequence.step_ends if first <= end < first + len(codes)
        ]


def test_hostile_tokens_never_reach_a_page_raw_and_a_feature_stays_small(
    settings: Settings,
) -> None:
    out = show_dash(settings, layers="0")
    data = layer_pages(out, 0)
    assert set(HOSTILE) <= set(data["tokens"])
    files = [path for path in out.rglob("*") if path.suffix in (".html", ".js")]
    for path in files:
        text = path.read_text(encoding="utf-8")
        for hostile in ("<script>alert", "\u2028"):
            assert hostile not in text
        if path.suffix == ".html":
            assert text.count("</script>") == 2
            assert text.count("<!--") == 0
        else:
            assert text.isascii() and not set("<>&") & set(text)
    cards = [path for path in (out / "layer_00").iterdir() if "traces" not in path.name]
    size = sum(path.stat().st_size for path in cards)
    assert size / len(data["features"]) < 30 * 1024


def test_top_examples_and_by_choose_what_is_shown(settings: Settings) -> None:
    data = layer_pages(show_dash(settings, layers="0", top=2, examples=3), 0)
    mass = {
        f["id"]: f["mass"]
        for f in layer_pages(show_dash(settings, layers="0", force=True), 0)["features"]
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
    by_diff = layer_pages(show_dash(settings, layers="0", top=1, by="diff", force=True), 0)
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
    assert layer_pages(show_dash(settings, layers="0"), 0)["pairs"] == []
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
