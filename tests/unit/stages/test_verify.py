"""verify: what it reads, and what it says of damage."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from rewardscope.errors import BadRecord, MissingInput
from rewardscope.settings import Settings
from rewardscope.stage import Stage, StageConfig
from rewardscope.stages import verify


@dataclass(frozen=True, kw_only=True)
class Plain(StageConfig):
    """Write two files."""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    for out in (tmp_path / "data" / "folder", tmp_path / "data" / "rows.jsonl"):
        stage = Stage("plain", Plain(), inputs={}, out=out)
        assert not stage.is_done()
        with stage:
            target = stage.work if out.suffix else stage.work / "deep" / "part.bin"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text("twelve bytes")
            stage.finish([target], rows=1)
    return Settings(data_dir=tmp_path / "data", sae_checkpoint_dir=tmp_path / "none")


def n_whole(said: str) -> int:
    """Return of how many results a table says that they are whole."""
    return sum("whole" in line.split() for line in said.splitlines())


def test_whole_results_are_listed(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    verify.run(verify.Config(), settings)
    said = capsys.readouterr().out
    assert n_whole(said) == 2 and "folder" in said and "rows.jsonl" in said


@pytest.mark.parametrize("name", ["folder/deep/part.bin", "rows.jsonl"])
@pytest.mark.parametrize("damage", ["flipped", "cut", "lost"])
def test_damage_is_named(
    name: str, damage: str, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    path = settings.data_dir / name
    if damage == "lost":
        path.unlink()
    else:
        path.write_text("twelve Bytes" if damage == "flipped" else "twelve")
    with pytest.raises(BadRecord, match=name):
        verify.run(verify.Config(), settings)
    assert n_whole(capsys.readouterr().out) == 1


def test_a_torn_manifest_is_damage(settings: Settings) -> None:
    (settings.data_dir / "folder" / "manifest.json").write_text("{")
    with pytest.raises(BadRecord, match=r"manifest\.json is torn"):
        verify.run(verify.Config(), settings)


def test_a_path_is_checked_alone(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    (settings.data_dir / "rows.jsonl").write_text("twelve Bytes")
    verify.run(verify.Config(files=(str(settings.data_dir / "folder"),)), settings)
    assert n_whole(capsys.readouterr().out) == 1
    with pytest.raises(BadRecord):
        verify.run(verify.Config(files=(str(settings.data_dir / "rows.jsonl"),)), settings)


def test_where_nothing_is_there_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(MissingInput, match="no finished result"):
        verify.run(verify.Config(), Settings(data_dir=tmp_path, sae_checkpoint_dir=tmp_path))
    with pytest.raises(MissingInput, match="nowhere is not there"):
        verify.run(verify.Config(files=("nowhere",)), Settings(data_dir=tmp_path))
