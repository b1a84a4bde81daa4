"""Load tokenizers and causal language models by plain transformers: no remote code, no pickled
weights.

A token for gated models comes from the environment, where huggingface_hub reads it
(`settings.publish_hf_token`).
"""

from collections.abc import Callable
from typing import Any, Literal, TypeVar

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils.logging import (
    disable_progress_bar,
    get_verbosity,
    set_verbosity,
    set_verbosity_error,
)

from rewardscope.errors import BadRecord, MissingInput
from rewardscope.log import get_logger
from rewardscope.models.names import check_model_name, check_policy, refuse_reward_model
from rewardscope.paths import HubName, hub_name

T = TypeVar("T")
# old checkpoints hold this buffer, which every model computes anew
_COMPUTED = ("rotary_emb.inv_freq",)
# of a checkpoint whose text model alone is read, or that predicts several tokens
_OF_OTHER_PARTS = ("visual", "vision", "audio", "multi_modal", "image", "mtp", "masked_bias")


def load_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a local folder or a hub id. Raises: MissingInput."""
    return _load(
        name,
        lambda of: AutoTokenizer.from_pretrained(
            of.id, revision=of.revision or "main", trust_remote_code=False
        ),
    )


def load_config(name: str) -> PreTrainedConfig:
    """Load the config of a local folder or a hub id. Raises: MissingInput."""
    return _load(
        name,
        lambda of: AutoConfig.from_pretrained(
            of.id, revision=of.revision or "main", trust_remote_code=False
        ),
    )


def load_causal_lm(name: str, *, device: torch.device, dtype: torch.dtype) -> PreTrainedModel:
    """Load a causal language model in evaluation mode from a local folder or a hub id.

    Raises: MissingInput; BadRecord where it is a reward model, or its weights are not those of its
    config.
    """
    check_policy(name)
    model: Any = load_checked(AutoModelForCausalLM, name, dtype=dtype, what="model")
    return model.to(device)


def check_vocabulary(name: str, tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> None:
    """Compare the ids of a tokenizer with the rows of the embedding.

    Added tokens without a row, which some models pad with, are a warning.
    Raises: BadRecord where a part of the vocabulary has none.
    """
    embedding: Any = model.get_input_embeddings()
    rows: int = embedding.weight.shape[0]
    added = set(tokenizer.added_tokens_decoder)
    without = [index for index in tokenizer.get_vocab().values() if index >= rows]
    if not without:
        return
    said = f"the tokenizer of {name} has ids up to {max(without)}, its embedding {rows} rows"
    if not added.issuperset(without):
        raise BadRecord(f"{said}; get the tokenizer's files that belong to this model")
    get_logger().warning(f"{said}; a text with one of these {len(without)} added tokens fails")


def load_checked(
    model_class: Any, name: str, *, dtype: torch.dtype, what: Literal["model", "PRM"] = "PRM"
) -> Any:
    """Load a model of a transformers class (or Auto class) from safetensors, on the CPU, in
    evaluation mode.

    Raises: MissingInput where there are no weights; BadRecord where they do not fit the class, or
    are no numbers: nothing is left at random.
    """
    disable_progress_bar()
    verbosity = get_verbosity()
    set_verbosity_error()  # what does not fit is said below, in one line
    hub_id, revision = hub_name(name)
    try:
        model, info = model_class.from_pretrained(
            hub_id,
            revision=revision or "main",
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    except Exception as error:  # files, configs and tensors each have errors of their own
        raise MissingInput(f"{what} {name} cannot be loaded: {_reason(error)}") from None
    finally:
        set_verbosity(verbosity)
    if what == "model":
        refuse_reward_model(name, model.config.architectures or ())
    _check_keys(name, type(model).__name__, info, what=what)
    _check_finite(name, model, what=what)
    return model.eval()


def _check_keys(name: str, class_name: str, info: dict[str, Any], *, what: str) -> None:
    ignored = _COMPUTED if what == "PRM" else _COMPUTED + _OF_OTHER_PARTS
    wrong = {
        "missing": sorted(info["missing_keys"]),
        "unexpected": sorted(
            key for key in info["unexpected_keys"] if not any(part in key for part in ignored)
        ),
        "of another shape": sorted(key for key, *_ in info["mismatched_keys"]),
    }
    listed = "; ".join(
        f"{problem}: {', '.join(keys[:4])}{' ...' if len(keys) > 4 else ''}"
        for problem, keys in wrong.items()
        if keys
    )
    if listed:
        raise BadRecord(f"the weights of {what} {name} do not fit {class_name} ({listed})")


def _check_finite(name: str, model: PreTrainedModel, *, what: str) -> None:
    for key, weight in model.named_parameters():
        if weight.is_floating_point() and weight.numel():
            low, high = torch.aminmax(weight.detach())
            if not (low.isfinite() and high.isfinite()):
                raise BadRecord(
                    f"the weights of {what} {name} are no numbers (NaN or infinity in {key}); get"
                    " its files again"
                )


def _reason(error: Exception) -> str:
    """Return what an error of a library says, in a line, with its kind where that says more."""
    line = " ".join(str(error).split())[:200]
    return (
        line
        if line and isinstance(error, OSError | ValueError)
        else (f"{type(error).__name__}: {line}" if line else type(error).__name__)
    )


def _load(name: str, read: Callable[[HubName], T]) -> T:
    """Return what `read` loads; a model that cannot be loaded is the user's error, in one line."""
    check_model_name(name)
    disable_progress_bar()  # a bar for seconds of reading is noise in a task and in a notebook
    try:
        return read(hub_name(name))
    except Exception as error:  # files and configs each have errors of their own
        raise MissingInput(f"model {name} cannot be loaded: {_reason(error)}") from None
