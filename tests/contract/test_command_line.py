"""The command line as a user types it: flags, spellings, help, and one-line errors with exit code
1.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
TASKS = (
    "demo",
    "infer",
    "infer-with-prm",
    "import-traces",
    "metrics",
    "prm-bench",
    "perturb",
    "save-acts",
    "train-linreg",
    "probe-predict",
    "probe-transfer",
    "reward-patterns",
    "train-sae",
    "sae-quality",
    "sae-bench",
    "export-sae",
    "feature-diff",
    "feature-label",
    "inject",
    "feature-ablate",
    "dash",
    "figures",
    "verify",
    "tiny",
)


def invoke(*arguments: str, cwd: Path = PROJECT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "invoke", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )


def assert_one_line_error(done: subprocess.CompletedProcess[str], *parts: str) -> None:
    assert done.returncode == 1, (done.returncode, done.stderr)
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    for part in parts:
        assert part in done.stderr, (part, done.stderr)


def test_the_list_shows_every_task() -> None:
    listed = invoke("--list").stdout
    for task in (*TASKS, "test", "dev.check", "dev.bench"):
        assert task in listed


@pytest.mark.parametrize("task", TASKS)
def test_help_explains_every_flag(task: str) -> None:
    done = invoke("--help", task)
    assert done.returncode == 0, done.stderr
    flags = [line for line in done.stdout.splitlines() if line.strip().startswith("--")]
    assert flags
    assert "none" not in done.stdout.split("Docstring:")[1].split("Options:")[0]


def test_a_bad_number_is_one_line() -> None:
    assert_one_line_error(
        invoke("infer", "--model_name", "X", "--limit", "nine"),
        "infer: --limit nine: not a whole number",
    )


def test_an_unknown_data_set_is_one_line_with_the_nearest_name() -> None:
    assert_one_line_error(
        invoke("infer", "--model_name", "X", "--datasets", "tinymaths"),
        "tinymaths",
        "did you mean 'tinymath'",
    )


def test_a_missing_flag_is_one_line() -> None:
    assert_one_line_error(invoke("infer"), "--model-name is required")


def test_an_unknown_flag_is_one_line_with_the_nearest_name() -> None:
    assert_one_line_error(
        invoke("infer", "--modle-name", "X"), "--modle-name", "Did you mean --model-name?"
    )


def test_an_unknown_task_is_one_line_with_the_nearest_name() -> None:
    assert_one_line_error(invoke("infr", "--limit", "2"), "infr", "Did you mean infer?")


def test_an_unknown_model_is_one_line() -> None:
    assert_one_line_error(
        invoke(
            "infer", "--model-name", "no/such-folder/here", "--datasets", "tinymath", "--limit", "1"
        ),
        "no/such-folder/here",
    )


def test_a_flag_of_one_letter_takes_two_dashes_as_well() -> None:
    assert_one_line_error(invoke("infer", "--model-name", "X", "--n", "0"), "--n 0")


@pytest.mark.parametrize("flag", ["--model-name", "--model_name"])
def test_dashes_and_underscores_are_the_same_flag(flag: str) -> None:
    assert_one_line_error(invoke("infer", flag, "X", "--limit", "0"), "--limit 0")


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        (("metrics", "--dataset", "nothing.jsonl"), "nothing.jsonl"),
        (("save-acts", "--ds_name", "nothing"), "nothing"),
        (("train-linreg", "--ds-name", "math-rm-nothing"), "math-rm-nothing"),
        (("train-linreg", "--ds-name", "x", "--ridge", "1..0"), "--ridge 1..0"),
        (("probe-predict", "--ds-name", "math-rm-nothing", "--probes", "x"), "math-rm-nothing"),
        (("probe-transfer", "--ds-names", "math-rm-nothing"), "at least two folders"),
        (("reward-patterns", "--ds-names", "math-rm-nothing"), "math-rm-nothing"),
        (("train-sae", "--ds-names", "math-rm-nothing"), "math-rm-nothing"),
        (("feature-diff", "--part", "1", "--total", "10"), "--"),
        (("feature-label", "--ds-names", "math-rm-nothing"), "SAE"),
        (("inject", "--reasoning", "x", "--instruct", "y"), "no SAE is named"),
        (("dash",), "--"),
        (("import-traces", "--kind", "plain"), "--files is required"),
        (("import-traces", "nothing.jsonl", "--kind", "plain"), "nothing.jsonl: no such file"),
        (("prm-bench", "--prm", "no/such", "nothing.jsonl"), "nothing.jsonl: no such file"),
        (("figures", "--only", "accurcy"), "did you mean 'accuracy'"),
    ],
)
def test_a_stage_without_its_input_says_so_in_one_line(
    command: tuple[str, ...], problem: str
) -> None:
    assert_one_line_error(invoke(*command), f"{command[0]}: ", problem)


def test_files_need_no_flag_wherever_they_stand_and_another_task_may_follow(tmp_path: Path) -> None:
    for name in ("one", "two, too"):
        (tmp_path / f"{name}.jsonl").write_text(
            '{"problem": "1+1?", "answer": "2", "solution": "\\\\boxed{2}"}\n', encoding="utf-8"
        )
    environment = {**os.environ, "REWARD_SAES_DATA_DIR": str(tmp_path / "data")}
    command = [
        "import-traces",
        str(tmp_path / "one.jsonl"),
        "--kind=plain",
        str(tmp_path / "two, too.jsonl"),
        "metrics",
        "--dataset",
        "one",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "invoke", *command],
        cwd=PROJECT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "data").glob("*.jsonl")) == [
        "one.jsonl",
        "two-too.jsonl",
    ]
    assert (tmp_path / "data" / "one.metrics.json").is_file()


def test_a_stray_word_is_an_error_where_a_task_takes_no_files() -> None:
    assert_one_line_error(invoke("metrics", "--dataset", "x", "stray"), "stray")


def rewardscope(*arguments: str, cwd: Path, source: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "rewardscope", *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(source)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_rewardscope_has_every_stage_without_a_checkout(tmp_path: Path) -> None:
    shutil.copytree(PROJECT / "src" / "rewardscope", tmp_path / "lib" / "rewardscope")
    here = {"cwd": tmp_path, "source": tmp_path / "lib"}
    listed = rewardscope("--list", **here)
    assert listed.returncode == 0, listed.stderr
    for task in TASKS:
        assert task in listed.stdout
    for flag in ("--model_name", "--model-name"):
        assert_one_line_error(rewardscope("infer", flag, "X", "--n", "0", **here), "--n 0")
    assert_one_line_error(rewardscope("infr", **here), "Did you mean infer?")
    assert_one_line_error(rewardscope("figures", **here), "run this in its clone")


def test_importing_the_command_line_patches_nothing() -> None:
    code = (
        "import invoke.program, invoke.parser, rewardscope.cli, rewardscope.__main__;"
        "assert invoke.program.Parser is invoke.parser.Parser;"
        "assert invoke.parser.Parser.parse_argv.__module__ == 'invoke.parser.parser'"
    )
    subprocess.run([sys.executable, "-c", code], cwd=PROJECT, check=True)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize(
    ("program", "after"),
    [("invoke", 0.0), ("rewardscope", 0.0), ("rewardscope", 0.3), ("rewardscope", 0.9)],
)
def test_a_signal_while_the_program_loads_is_one_line(
    number: int, code: int, program: str, after: float, tmp_path: Path
) -> None:
    # `-X importtime` says on stderr what has been loaded; from this module on the moment is ours
    first = "rewardscope.errors"
    with subprocess.Popen(
        [sys.executable, "-X", "importtime", "-m", program, "demo"],
        cwd=PROJECT,
        env={**os.environ, "REWARD_SAES_DATA_DIR": str(tmp_path)},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.split("|")[-1].strip() == first:
                break
        time.sleep(after)
        process.send_signal(number)
        said = [line for line in process.stderr if not line.startswith("import time:")]
    assert process.returncode == code, said
    assert "the same command goes on from here" in said[-1]
    assert not any("Traceback" in line for line in said)
