"""The only reader of `.env` and the environment. Secrets are never shown, logged or saved."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from rewardscope.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the environment says. Variables win over `.env`.

    REWARD_SAES_DATA_DIR: everything that stages write, except SAEs (default `data`).
    SAE_CHECKPOINT_DIR: where SAE runs are written (default `checkpoints`).
    SAE_CHECKPOINT_PATH: the one SAE run or file that `feature-diff` and `dash` read unless a flag names another.
    """

    data_dir: Path = Path("data")
    sae_checkpoint_dir: Path = Path("checkpoints")
    sae_checkpoint_path: Path | None = None
    wandb_api_key: str | None = field(default=None, repr=False)
    hf_token: str | None = field(default=None, repr=False)


def load_settings(env: Mapping[str, str] | None = None, dotenv: Path = Path(".env")) -> Settings:
    """Read the settings; an empty variable counts as unset. Raises: ConfigError where a folder is an existing file."""
    from dotenv import dotenv_values

    merged = {k: v for k, v in dotenv_values(dotenv).items() if v} | {k: v for k, v in (os.environ if env is None else env).items() if v}
    for name in ("REWARD_SAES_DATA_DIR", "SAE_CHECKPOINT_DIR"):
        if name in merged and Path(merged[name]).is_file():
            raise ConfigError(f"{name}={merged[name]} is a file; it must be a folder")
    path = merged.get("SAE_CHECKPOINT_PATH")
    return Settings(
        data_dir=Path(merged.get("REWARD_SAES_DATA_DIR") or "data"),
        sae_checkpoint_dir=Path(merged.get("SAE_CHECKPOINT_DIR") or "checkpoints"),
        sae_checkpoint_path=Path(path) if path else None,
        wandb_api_key=merged.get("WANDB_API_KEY"),
        hf_token=merged.get("HF_TOKEN"),
    )


class Launch(NamedTuple):
    """Which process of how many this is, in all and on this machine."""

    rank: int
    size: int
    local_rank: int
    local_size: int


def launched() -> Launch | None:
    """Return the place of this process among those that torchrun started, None where it was not torchrun."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return None
    return Launch(*(int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")))


def publish_hf_token(settings: Settings) -> None:
    """Give the token to huggingface_hub, which reads the environment whenever it downloads, also in processes that we start."""
    if settings.hf_token:
        os.environ["HF_TOKEN"] = settings.hf_token
