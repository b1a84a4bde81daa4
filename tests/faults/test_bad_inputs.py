"""Every bad input ends in exit code 1 and one line, and changes nothing on disk."""

import re
import shlex
from pathlib import Path

import pytest
from invoke.collection import Collection

from rewardscope.cli import Program, add_tasks
from rewardscope.stages.table import STAGES
from tests.faults.bad_inputs import TABLE, BadInput

NAMESPACE = add_tasks(Collection(), STAGES)


def test_the_table_has_a_hundred_bad_inputs_and_none_twice() -> None:
    assert len(TABLE) >= 100
    assert len({(one.kind, one.command) for one in TABLE}) == len(TABLE)


def contents(folder: Path) -> dict[Path, bytes | None]:
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@pytest.mark.parametrize("bad", TABLE, ids=lambda bad: bad.kind)
def test_a_bad_input_is_one_line_and_changes_nothing(
    bad: BadInput,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, content in bad.files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    before = contents(tmp_path)
    monkeypatch.chdir(tmp_path)
    for name, value in ({"REWARD_SAES_DATA_DIR": "data"} | dict(bad.environment)).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as ended:
        Program(namespace=NAMESPACE, name="rewardscope", binary="rewardscope").run(
            ["rewardscope", *shlex.split(bad.command)]
        )
    said = capsys.readouterr().err
    assert ended.value.code == 1, said
    assert said.count("\n") == 1 and re.search(bad.line, said), said
    assert contents(tmp_path) == before
