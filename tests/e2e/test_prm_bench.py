"""prm-bench on hand-made benchmark files, with a small random PRM, through the real stage."""

import json
from pathlib import Path
from typing import Any

import pytest

import rewardscope.prms
from rewardscope.errors import ConfigError, MissingInput, PipelineError
from rewardscope.prms.scorer import HfScorer
from rewardscope.settings import Settings
from rewardscope.stages.prm_bench import Config, run
from rewardscope.storage.jsonl import read_solved
from rewardscope.storage.tables import read_json
from tests.unit.prms.tiny_prm import make_prm, random_solutions

TOO_LONG = {"id": "toy-90", "problem": "How many?", "steps": ["a 3 + 7 " * 300], "label": -1}
REFUSED = {"id": "toy-91", "problem": "How many?", "steps": ["so <extra_0> 3"], "label": 0}


@pytest.fixture(scope="module")
def prm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_prm(tmp_path_factory.mktemp("models") / "random-prm")


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    solutions = random_solutions(24, seed=1)
    first = [
        {"id": f"toy-{i}", "problem": question, "steps": steps, "label": i % (len(steps) + 1) - 1}
        for i, (question, steps) in enumerate(solutions[:12])
    ]
    second = [
        {
            "modified_question": question,
            "modified_process": steps,
            "error_steps": [1 + i % len(steps)],
            "classification": "circular",
            "idx": i,
        }
        for i, (question, steps) in enumerate(solutions[12:])
    ]
    return write(tmp_path / "toy.jsonl", [*first, TOO_LONG, REFUSED]), write(
        tmp_path / "errors.jsonl", second
    )


def test_scores_are_the_prm_s_own_and_the_report_is_computed_from_them(tmp_path, prm, files):
    out = run(Config(files=files, prm=str(prm)), Settings(data_dir=tmp_path / "data"))
    assert out == tmp_path / "data" / "prm-bench" / "random-prm" / "report.json"
    scorer = HfScorer(str(prm), device="cpu")
    rows = read_solved(out.parent / "toy.jsonl")
    for row in rows:
        (trace,) = row.traces
        (scores,) = scorer.score([scorer.encode(row.problem.question, trace.steps)])
        assert trace.scores == pytest.approx(scores, abs=1e-5)
        assert row.cost.prm_tokens > 0
    report = read_json(out)
    labels = {
        f"toy/{row['id']}": row["label"]
        for row in map(json.loads, Path(files[0]).read_text(encoding="utf-8").splitlines())
    }
    right = [0, 0]
    for row in rows:
        found = next(
            (step for step, score in enumerate(row.traces[0].scores or ()) if score <= 0.5), -1
        )
        right[labels[row.problem.id] == -1] += found == labels[row.problem.id]
    errors = sum(labels[row.problem.id] != -1 for row in rows)
    toy = report["processbench"]["subsets"]["toy"]
    assert toy["error_accuracy"]["value"] == pytest.approx(right[0] / errors)
    assert toy["correct_accuracy"]["value"] == pytest.approx(right[1] / (12 - errors))
    assert (
        0
        <= report["prmbench"]["prm_score"]["low"]
        <= report["prmbench"]["prm_score"]["value"]
        <= report["prmbench"]["prm_score"]["high"]
    )
    assert (report["threshold"], report["solutions"]) == (0.5, 24)


def test_the_scored_traces_keep_what_is_known_of_their_steps(tmp_path, prm):
    toy = [
        {"id": f"toy-{label}", "problem": "3 + 7?", "steps": ["a 3", "7", "10"], "label": label}
        for label in (-1, 0, 1)
    ]
    error = {
        "modified_question": "3 + 7?",
        "modified_process": ["a 3", "7", "10"],
        "error_steps": [1, 3],
        "classification": "circular",
        "idx": 0,
    }
    files = write(tmp_path / "toy.jsonl", toy), write(tmp_path / "errors.jsonl", [error])
    out = run(Config(files=files, prm=str(prm)), Settings(data_dir=tmp_path / "data"))
    labels = [
        row.traces[0].labels
        for name in ("toy", "errors")
        for row in read_solved(out.parent / f"{name}.jsonl")
    ]
    # of ProcessBench the first wrong step is known, of PRMBench all are
    assert labels == [
        (True, True, True),
        (False, None, None),
        (True, False, None),
        (False, True, False),
    ]


def test_solutions_that_the_prm_cannot_take_are_counted_and_named(tmp_path, prm, files, capsys):
    out = run(Config(files=files, prm=str(prm)), Settings(data_dir=tmp_path / "data"))
    report, manifest = read_json(out), read_json(out.parent / "toy.jsonl.manifest.json")
    assert (
        set(report["left_out"]["toy"]) == {"toy-90", "toy-91"}
        and report["left_out"]["errors"] == {}
    )
    assert manifest["skipped"] == {"more tokens than the PRM's 512 positions": 1, "refused": 1}
    shown = capsys.readouterr()
    assert "leaves out toy-90: the solution has" in shown.err and "leaves out toy-91: " in shown.err
    assert "24 solutions scored, 0 of them beyond the PRM's window, 2 left out" in shown.out


def test_another_threshold_scores_nothing_again(tmp_path, prm, files, monkeypatch):
    settings = Settings(data_dir=tmp_path / "data")
    run(Config(files=files, prm=str(prm)), settings)
    monkeypatch.setattr(
        rewardscope.prms, "load_scorer", lambda *_a, **_k: pytest.fail("the PRM was loaded again")
    )
    report = read_json(run(Config(files=files, prm=str(prm), threshold=-1.0), settings))
    assert report["threshold"] == -1
    # all steps score above it: no error is found
    assert report["processbench"]["subsets"]["toy"]["error_accuracy"]["value"] == 0
    assert report["processbench"]["subsets"]["toy"]["correct_accuracy"]["value"] == 1


def test_a_killed_run_goes_on_after_the_last_whole_chunk(tmp_path, prm, files, monkeypatch):
    undisturbed = run(Config(files=files, prm=str(prm)), Settings(data_dir=tmp_path / "a"))
    scored: list[int] = []
    real = HfScorer.score

    def score(self, batch):
        if sum(scored) >= 5:
            raise KeyboardInterrupt
        scored.append(len(batch))
        return real(self, batch)

    config, settings = Config(files=files, prm=str(prm), chunk=5), Settings(data_dir=tmp_path / "b")
    monkeypatch.setattr(HfScorer, "score", score)
    with pytest.raises(KeyboardInterrupt):
        run(config, settings)
    assert not (tmp_path / "b/prm-bench/random-prm/toy.jsonl").exists()
    scored.clear()
    monkeypatch.setattr(
        HfScorer, "score", lambda self, batch: scored.append(len(batch)) or real(self, batch)
    )
    resumed = run(config, settings)
    assert scored == [5, 2, 5, 5, 2]  # 12 and 12 solutions, of which 5 were there
    for name in ("toy", "errors"):
        whole, continued = (
            read_solved(out.parent / f"{name}.jsonl") for out in (undisturbed, resumed)
        )
        assert [row.problem for row in continued] == [row.problem for row in whole]
        for one, other in zip(whole, continued, strict=True):
            assert other.traces[0].scores == pytest.approx(one.traces[0].scores, abs=1e-5)
    assert read_json(undisturbed)["prmbench"] == read_json(resumed)["prmbench"]


def test_scores_without_bounds_need_a_threshold(tmp_path, prm, files, monkeypatch):
    adapter = rewardscope.prms.find_adapter(str(prm))
    monkeypatch.setattr(type(adapter), "score_range", (float("-inf"), float("inf")))
    with pytest.raises(ConfigError, match="--threshold is required"):
        run(Config(files=files, prm=str(prm)), Settings(data_dir=tmp_path))
    report = read_json(
        run(Config(files=files, prm=str(prm), threshold=0.25), Settings(data_dir=tmp_path))
    )
    assert report["threshold"] == 0.25


def test_mistakes_end_before_the_prm_is_loaded(tmp_path, prm, files, monkeypatch):
    monkeypatch.setattr(
        rewardscope.prms, "load_scorer", lambda *_a, **_k: pytest.fail("the PRM was loaded")
    )
    settings = Settings(data_dir=tmp_path)
    with pytest.raises(MissingInput, match=r"nothing\.jsonl: no such file"):
        run(Config(files=("nothing.jsonl",), prm=str(prm)), settings)
    with pytest.raises(ConfigError, match="same short name"):
        run(Config(files=(files[0], files[0]), prm=str(prm)), settings)
    with pytest.raises(PipelineError, match="no-such-prm"):
        run(Config(files=files, prm=str(tmp_path / "no-such-prm")), settings)
    with pytest.raises(ConfigError, match="--chunk 0"):
        Config(files=files, chunk=0)


def test_a_prm_that_can_take_no_solution_is_an_error(tmp_path, prm):
    with pytest.raises(MissingInput, match="can score none of the 1 solutions"):
        run(
            Config(files=(write(tmp_path / "long.jsonl", [TOO_LONG]),), prm=str(prm)),
            Settings(data_dir=tmp_path / "data"),
        )


def test_solutions_beyond_the_window_are_scored_and_the_others_reported_alone_too(
    tmp_path, prm, files
):
    settings = Settings(data_dir=tmp_path / "data")
    dropped = read_json(run(Config(files=files[:1], prm=str(prm)), settings))
    assert (dropped["solutions"], dropped["beyond_window"]) == (
        12,
        0,
    ) and "within_window" not in dropped
    kept = read_json(
        run(Config(files=files[:1], prm=str(prm), beyond_window="score", force=True), settings)
    )
    assert (kept["solutions"], kept["beyond_window"]) == (13, 1)
    assert kept["within_window"]["processbench"] == dropped["processbench"] != kept["processbench"]
