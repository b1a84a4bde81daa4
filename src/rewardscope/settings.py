"""The only reader of `.env` and the environment. Secrets are never shown, logged or saved."""

import io
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
    SAE_CHECKPOINT_PATH: the one SAE run or file that `feature-diff` and `dash` read unless a flag
    names another.
    """

    data_dir: Path = Path("data")
    sae_checkpoint_dir: Path = Path("checkpoints")
    sae_checkpoint_path: Path | None = None
    wandb_api_key: str | None = field(default=None, repr=False)
    hf_token: str | None = field(default=None, repr=False)
    policy_api_key: str | None = field(default=None, repr=False)
    labeller_api_key: str | None = field(default=None, repr=False)


def load_settings(env: Mapping[str, str] | None = None, dotenv: Path = Path(".env")) -> Settings:
    """Read the settings; an empty variable counts as unset.

    Raises: ConfigError where a folder is an existing file, or with the line of `.env` that is torn.
    """
    merged = _read_dotenv(dotenv) | {
        k: v for k, v in (os.environ if env is None else env).items() if v
    }
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
        policy_api_key=merged.get("POLICY_API_KEY"),
        labeller_api_key=merged.get("LABELLER_API_KEY"),
    )


def _read_dotenv(path: Path) -> dict[str, str]:
    """Read a file of NAME=value lines; what it holds is never shown, it may be secret."""
    if not path.is_file():
        return {}
    from dotenv import dotenv_values
    from dotenv.parser import parse_stream

    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path} line {line}: a byte that is not UTF-8; mend it") from None
    for binding in parse_stream(io.StringIO(text)):
        is_torn = binding.error or (binding.key is not None and binding.value is None)
        controls = [char for char in binding.value or "" if ord(char) < 32 and char != "\t"]
        if is_torn or controls:
            lines = binding.original.string
            line = binding.original.line + len(lines) - len(lines.lstrip("\n"))
            raise ConfigError(f"{path} line {line} is torn: it is not NAME=value; mend it")
    found = dotenv_values(stream=io.StringIO(text))
    return {name: value for name, value in found.items() if value}


def as_environment(settings: Settings) -> dict[str, str]:
    """Return the variables from which `load_settings` reads these settings in another process."""
    values = {
        "REWARD_SAES_DATA_DIR": settings.data_dir,
        "SAE_CHECKPOINT_DIR": settings.sae_checkpoint_dir,
        "SAE_CHECKPOINT_PATH": settings.sae_checkpoint_path,
        "WANDB_API_KEY": settings.wandb_api_key,
        "HF_TOKEN": settings.hf_token,
        "POLICY_API_KEY": settings.policy_api_key,
        "LABELLER_API_KEY": settings.labeller_api_key,
    }
    return {name: str(value) for name, value in values.items() if value}


class Launch(NamedTuple):
    """Which process of how many this is, in all and on this machine."""

    rank: int
    size: int
    local_rank: int
    local_size: int
    parent: int | None
    """The process of this program that started it, None where torchrun did."""


_OWN_RUN = "rewardscope-"


def own_run_id() -> str:
    """Return the name of a run whose processes this one starts."""
    return f"{_OWN_RUN}{os.getpid()}"


def launched() -> Launch | None:
    """Return the place of this process among those that torchrun, or --processes, started;

    None where it is alone. Raises: ConfigError where the environment says only half of it.
    """
    run_id = os.environ.get("TORCHELASTIC_RUN_ID")
    if run_id is None:
        return None
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    values = [os.environ.get(name, "") for name in names]
    for name, value in zip(names, values, strict=True):
        if not value.isdecimal() or len(value) > 9:
            raise ConfigError(
                f"TORCHELASTIC_RUN_ID is set, and {name}={value} is no whole number: start by"
                " torchrun or --processes, or unset TORCHELASTIC_RUN_ID"
            )
    rank, size, local_rank, local_size = map(int, values)
    if rank >= size or local_rank >= local_size:
        raise ConfigError(
            f"RANK={rank} of WORLD_SIZE={size}, LOCAL_RANK={local_rank} of"
            f" LOCAL_WORLD_SIZE={local_size}: a rank must be below its size; start by torchrun or"
            " --processes, or unset TORCHELASTIC_RUN_ID"
        )
    parent = int(run_id.removeprefix(_OWN_RUN)) if run_id.startswith(_OWN_RUN) else None
    return Launch(rank, size, local_rank, local_size, parent)


def publish_hf_token(settings: Settings) -> None:
    """Give the token to huggingface_hub, which reads the environment whenever it downloads, also in
    processes that we start.
    """
    if settings.hf_token:
        os.environ["HF_TOKEN"] = settings.hf_token
