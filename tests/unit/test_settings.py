"""Settings: where they come from, and how the token for gated models reaches the hub's client."""

import os
from pathlib import Path

import huggingface_hub
import pytest

from rewardscope.errors import ConfigError
from rewardscope.settings import Settings, as_environment, load_settings, publish_hf_token


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
