"""Whether a model is there, and is what it is wanted for: asked of its folder or of the hub before
anything heavy is imported.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import msgspec

from rewardscope.errors import BadRecord, MissingInput, nearest
from rewardscope.paths import hub_name
from rewardscope.storage.tables import read_json_as

HUB_TIMEOUT = 20.0  # seconds
_REWARD_MODEL = re.compile(r"Reward|Prm|ForSequenceClassification|ForTokenClassification")


class _Config(msgspec.Struct, frozen=True):
    architectures: tuple[str, ...] | None = None


def architectures_in(folder: Path) -> tuple[str, ...]:
    """Return what the config of a model folder calls the model. Raises: BadRecord."""
    return read_json_as(folder / "config.json", _Config).architectures or ()


def check_policy(name: str) -> None:
    """Say at once that a policy is not there, or is a reward model.

    Raises: as `check_model_name`; BadRecord.
    """
    check_model_name(name)
    if Path(name).is_dir():
        refuse_reward_model(name, architectures_in(Path(name)))


def refuse_reward_model(name: str, architectures: Sequence[str]) -> None:
    """Raises: BadRecord where a config names a model that scores and does not write."""
    for architecture in architectures:
        if _REWARD_MODEL.search(architecture):
            raise BadRecord(
                f"model {name} is a reward model ({architecture}), which writes no text; pass it as"
                " --prm, and a causal language model as the policy"
            )


def _near(folder: Path) -> str:
    """Name the model folder that is nearest to one that is not there."""
    parent = folder.parent
    if not parent.is_dir():
        return f"; {parent} is no folder"
    near = nearest(folder.name, [each.parent.name for each in parent.glob("*/config.json")])
    return f"; did you mean {parent / near}?" if near else ""


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
    hub_id, revision = hub_name(name)
    if hub_id.count("/") != 1 or name.startswith((".", "/", "~")):
        raise MissingInput(
            f"model folder {name} is not there{_near(folder)}; pass a folder or a hub id such as"
            " Qwen/Qwen2.5-Math-7B-Instruct"
        )
    from huggingface_hub import HfApi, try_to_load_from_cache

    try:
        cached = try_to_load_from_cache(hub_id, "config.json", revision=revision)
        if not isinstance(cached, str):
            HfApi().model_info(hub_id, revision=revision, timeout=HUB_TIMEOUT)
    # the hub's client, its HTTP library and its name check each have errors of their own
    except Exception as error:
        reason = str(error).strip().splitlines()[0]
        raise MissingInput(
            f"model {name} is no folder here, and the hub does not give it ({reason}); check the"
            " name or HF_TOKEN"
        ) from None
