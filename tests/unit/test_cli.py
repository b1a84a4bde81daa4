"""Flags that are made of a config."""

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import pytest
from invoke.collection import Collection
from invoke.context import Context

from rewardscope.cli import Program, add_tasks, shell_task, stage_task
from rewardscope.settings import Settings
from rewardscope.stage import Stage, StageConfig, as_flags, option


@dataclass(frozen=True, kw_only=True)
class Config(StageConfig):
    """Do nothing."""

    names: tuple[str, ...] = option((), help="names")
    parts: tuple[float, ...] = option((0.5, 1.0), help="parts")
    rows: int | None = option(None, help="rows")
    lr_warm: float = option(0.1, help="rate")
    text: str = option("all", help="text")


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"force": True, "rows": 3, "lr_warm": 1 / 3, "parts": (1 / 16, 1.0)},
        {"names": ("one, with a comma", "-x"), "text": "-1 of = 3"},
        {"names": ("a", "b"), "lr_warm": -1e-9},
    ],
)
def test_the_flags_of_a_config_give_the_same_config(values: dict[str, Any]) -> None:
    seen: list[Config] = []
    program = Program(
        namespace=Collection(stage_task("work", Config, lambda config, _: seen.append(config)))
    )
    program.run(["invoke", "work", *as_flags(Config(**values))], exit=False)
    assert seen == [Config(**values)]


def test_a_dotted_name_is_a_task_of_a_sub_collection() -> None:
    seen: list[StageConfig] = []
    table = {
        name: (Config, lambda config, _settings: seen.append(config))
        for name in ("work", "lens.trace", "lens.patch")
    }
    tasks = add_tasks(Collection(), table)
    assert set(tasks.task_names) == {"work", "lens.trace", "lens.patch"}
    Program(namespace=tasks).run(["rewardscope", "lens.trace", "--rows", "3"], exit=False)
    assert seen == [Config(rows=3)]


@dataclass(frozen=True, kw_only=True)
class Typed(StageConfig):
    """Do nothing."""

    width: int = option(4, help="width")
    side: Literal["left", "right"] = option("left", help="side")
    source: str = option(help="source")
    sizes: tuple[float, ...] = option((), help="sizes")


def test_help_shows_required_flags_first_and_the_type_of_each(
    capsys: pytest.CaptureFixture[str],
) -> None:
    namespace = Collection(stage_task("work", Typed, lambda *_: None))
    Program(namespace=namespace).run(["rewardscope", "--help", "work"], exit=False)
    lines = capsys.readouterr().out.split("Options:")[1].strip().splitlines()
    assert [line.split()[0] for line in lines] == [
        "--source=TEXT",
        "--width=INTEGER",
        "--side=left|right",
        "--sizes=NUMBER,...",
        "--force",
    ]


def _run(run: Callable[[Any, Settings], object], capsys: pytest.CaptureFixture[str]) -> tuple:
    """Return the exit code of a task and what it wrote to stderr."""
    namespace = Collection(stage_task("work", Config, run))
    with pytest.raises(SystemExit) as ended:
        Program(namespace=namespace).run(["rewardscope", "work"])
    return ended.value.code, capsys.readouterr().err


@pytest.mark.parametrize(
    "number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.ENOTDIR, errno.EISDIR, errno.EEXIST]
)
def test_an_error_of_the_file_system_is_one_line_with_cause_and_path(
    number: int, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(_config: Config, _settings: Settings) -> None:
        raise OSError(number, os.strerror(number), "data/there")

    code, said = _run(run, capsys)
    assert code == 1 and said.startswith("work: data/there: ") and said.count("\n") == 1
    assert os.strerror(number).lower() in said.lower()


def test_a_full_disk_names_what_was_being_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(config: Config, _settings: Settings) -> None:
        with Stage("work", config, inputs={}, out=tmp_path / "result"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    code, said = _run(run, capsys)
    assert code == 1 and str(tmp_path) in said and "no space left on device" in said


@pytest.mark.parametrize(
    ("number", "word"), [(signal.SIGINT, "interrupt"), (signal.SIGTERM, "TERM")]
)
def test_a_signal_ends_a_task_in_one_line_also_where_a_library_makes_an_error_of_it(
    number: int, word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(_config: Config, _settings: Settings) -> None:
        try:
            os.kill(os.getpid(), number)
            time.sleep(5)
        except BaseException as error:
            raise ImportError("half loaded") from error

    before = signal.getsignal(number)
    code, said = _run(run, capsys)
    assert code == 128 + number and said.count("\n") == 1
    assert word in said and "the same command goes on from here" in said
    assert signal.getsignal(number) is before


def test_a_negative_seed_is_refused_before_the_task_runs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    namespace = Collection(stage_task("work", Seeded, lambda *_: pytest.fail("ran")))
    for flag in ("--seed", "--split-seed"):
        with pytest.raises(SystemExit):
            Program(namespace=namespace).run(["rewardscope", "work", f"{flag}=-1"])
        assert f"work: {flag} -1: it must be 0 or more" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (
            "--seed=99999999999999999999",
            "--seed 99999999999999999999: it must be at most 2**63 - 1",
        ),
        ("--n=99999999999999999999", "--n 99999999999999999999: it must be at most 100000"),
        ("--n=100001", "--n 100001: it must be at most 100000"),
        ("--n=" + "9" * 5000, f"--n {'9' * 40}...: a number of 5000 characters"),
        ("--n=2147483648", "--n 2147483648: it must be at most 100000"),
        ("--n=1.5", "--n 1.5: not a whole number"),
        ("--share=nan", "--share nan: not a finite number"),
        ("--share=-inf", "--share -inf: not a finite number"),
        ("--share=1e999", "--share inf: not a finite number"),
        ("--shares=0.5,nan", "--shares nan: not a finite number"),
        ("--name=", "--name is empty; give it a value, or leave it out"),
    ],
)
def test_a_number_out_of_all_bounds_and_an_empty_value_are_refused(
    typed: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    namespace = Collection(stage_task("work", Seeded, lambda *_: pytest.fail("ran")))
    with pytest.raises(SystemExit):
        Program(namespace=namespace).run(["rewardscope", "work", typed])
    assert capsys.readouterr().err == f"work: {said}\n"


@dataclass(frozen=True, kw_only=True)
class Seeded(StageConfig):
    """Do nothing."""

    n: int = option(1, help="count", at_most=100_000)
    share: float | None = option(None, help="share")
    shares: tuple[float, ...] = option((), help="shares")
    name: str | None = option(None, help="name")
    seed: int = option(0, help="seed")
    split_seed: int = option(0, help="seed of the split")


def test_a_reader_that_goes_away_ends_the_help_in_silence() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "rewardscope", "--help", "infer"]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (-signal.SIGPIPE, "")


def test_a_shell_task_hands_its_switches_to_its_first_command(monkeypatch):
    ran = []
    monkeypatch.setattr(
        "rewardscope.cli.tasks.subprocess.run",
        lambda command, **_: ran.append(command[1:]) or SimpleNamespace(returncode=0),
    )
    task = shell_task("x", "Do it.", "pytest a", "pyright", switches={"real": "more"})
    task(Context())
    task(Context(), real=True)
    plain = [["-m", "pytest", "a"], ["-m", "pyright"]]
    assert ran == [*plain, ["-m", "pytest", "a", "--real"], ["-m", "pyright"]]
