"""Load tokenizers and causal language models by plain transformers: no remote code, no pickled
weights.

A token for gated models comes from the environment, where huggingface_hub reads it
(`settings.publish_hf_token`).
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from huggingface_hub import HfApi, try_to_load_from_cache
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils.logging import disable_progress_bar

from rewardscope.errors import MissingInput

T = TypeVar("T")
HUB_TIMEOUT = 20.0  # seconds


def load_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a local folder or a hub id. Raises: MissingInput."""
    return _load(name, lambda: AutoTokenizer.from_pretrained(name, trust_remote_code=False))


def load_causal_lm(name: str, *, device: torch.device, dtype: torch.dtype) -> PreTrainedModel:
    """Load a causal language model in evaluation mode from a local folder or a hub id.

    Raises: MissingInput.
    """
    model: Any = _load(
        name,
        lambda: AutoModelForCausalLM.from_pretrained(
            name, dtype=dtype, use_safetensors=True, trust_remote_code=False
        ),
    )
    return model.to(device).eval()


def _load(name: str, read: Callable[[], T]) -> T:
    """Return what `read` loads; a model that cannot be loaded is the user's error, in one line."""
    check_model_name(name)
    disable_progress_bar()  # a bar for seconds of reading is noise in a task and in a notebook
    try:
        return read()
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise MissingInput(f"model {name} cannot be loaded: {reason}") from None


def check_model_name(name: str) -> None:
    """Say at once, before anything large is read, that a model is not there.

    A folder must hold a config; a hub id that is not in the local cache is looked up with one
    request.
    Raises: MissingInput.
    """
    folder = Path(name)
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise MissingInput(
                f"model folder {name} has no config.json; pass the folder that save_pretrained"
                " wrote"
            )
        return
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise MissingInput(
            f"model folder {name} is not there; pass a folder or a hub id such as"
            " Qwen/Qwen2.5-Math-7B-Instruct"
        )
    try:
        if not isinstance(try_to_load_from_cache(name, "config.json"), str):
            HfApi().model_info(name, timeout=HUB_TIMEOUT)
    # the hub's client, its HTTP library and its name check each have errors of their own
    except Exception as error:
        reason = str(error).strip().splitlines()[0]
        raise MissingInput(
            f"model {name} is no folder here, and the hub does not give it ({reason}); check the"
            " name or HF_TOKEN"
        ) from None
