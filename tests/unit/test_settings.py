"""Settings: where they come from, and how the token for gated models reaches the hub's client."""

import os
from pathlib import Path

import huggingface_hub
import pytest

from rewardscope.errors import ConfigError
from rewardscope.settings import Settings, as_environment, launched, load_settings, publish_hf_token


@pytest.fixture
def dotenv(tmp_path: Path) -> Path:
    path = tmp_path / ".env"
    path.write_text("HF_TOKEN=hf_from_file\nREWARD_SAES_DATA_DIR=elsewhere\nSAE_CHECKPOINT_PATH=\n")
    return path


def test_a_variable_wins_over_the_file_and_an_empty_one_counts_as_unset(dotenv: Path) -> None:
    settings = load_settings({"REWARD_SAES_DATA_DIR": "here", "HF_TOKEN": ""}, dotenv)
    assert (settings.data_dir, settings.hf_token, settings.sae_checkpoint_path) == (
        Path("here"),
        "hf_from_file",
        None,
    )


@pytest.mark.parametrize(
    "settings",
    [
        Settings(),
        Settings(
            data_dir=Path("a b"), sae_checkpoint_path=Path("c"), wandb_api_key="k", hf_token="t"
        ),
    ],
)
def test_another_process_reads_the_same_settings(settings: Settings, tmp_path: Path) -> None:
    assert load_settings(as_environment(settings), tmp_path / ".env") == settings


def test_secrets_are_not_shown(dotenv: Path) -> None:
    assert "hf_from_file" not in repr(load_settings({}, dotenv))


def test_a_folder_that_is_a_file_is_refused(dotenv: Path) -> None:
    with pytest.raises(ConfigError, match="is a file; it must be a folder"):
        load_settings({"SAE_CHECKPOINT_DIR": str(dotenv)}, dotenv)


def test_a_token_that_is_only_in_the_file_reaches_the_hubs_client(
    dotenv: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "")
    publish_hf_token(load_settings(None, dotenv))
    assert huggingface_hub.get_token() == os.environ["HF_TOKEN"] == "hf_from_file"


def test_no_token_leaves_the_environment_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    publish_hf_token(load_settings({}, tmp_path / "absent"))
    assert "HF_TOKEN" not in os.environ


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b'A=1\n\nHF_TOKEN="hf_secret\nB=2\n', 3),
        (b"A=1\nHF_TOK", 2),
        (b"A=1\n# remark\nhf_secret hf_secret\n", 3),
        (b"A=1\nHF_TOKEN=hf_\xe9secret\n", 2),
        (b"HF_TOKEN=hf_secret\x00\x00\n", 1),
    ],
)
def test_a_torn_file_is_one_line_that_shows_nothing_of_it(
    content: bytes, line: int, tmp_path: Path
) -> None:
    path = tmp_path / ".env"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load_settings({}, dotenv=path)
    said = str(caught.value)
    assert said.startswith(f"{path} line {line}") and "\n" not in said and "hf_" not in said


def test_a_file_with_a_mark_remarks_and_quotes_is_read(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_bytes(
        b"\xef\xbb\xbf# ours\r\nexport HF_TOKEN='hf_x'\r\n\r\nSAE_CHECKPOINT_DIR=a b\r\n"
    )
    settings = load_settings({}, dotenv=path)
    assert (settings.hf_token, settings.sae_checkpoint_dir) == ("hf_x", Path("a b"))


@pytest.mark.parametrize(
    ("more", "wrong"),
    [
        ({}, "RANK="),
        ({"RANK": "0"}, "WORLD_SIZE="),
        ({"RANK": "x"}, "RANK=x"),
        ({"RANK": "-1"}, "RANK=-1"),
        ({"RANK": "2", "WORLD_SIZE": "2"}, "LOCAL_RANK="),
        (
            {"RANK": "2", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"},
            "RANK=2 of WORLD_SIZE=2",
        ),
    ],
)
def test_half_of_what_torchrun_sets_is_one_line(
    more: dict[str, str], wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in ({"TORCHELASTIC_RUN_ID": "left over"} | more).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=f"{wrong}.*unset TORCHELASTIC_RUN_ID"):
        launched()
