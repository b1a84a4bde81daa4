"""What `save-acts` will do: which traces, their groups, the size of the model and of what is
written.
"""

import hashlib
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from rewardscope.errors import ConfigError, MissingInput
from rewardscope.layers import parse_layers
from rewardscope.log import get_logger
from rewardscope.problems.prompts import PromptForm
from rewardscope.records import Manifest, Problem, Trace
from rewardscope.splits import SPLIT_SEED, TEST_SHARE, is_test
from rewardscope.stage import Stage
from rewardscope.stages.model_flags import check_model
from rewardscope.storage.manifests import read_manifest

if TYPE_CHECKING:
    import torch

    from rewardscope.capturing.inputs import TraceEncoder, TraceInput
    from rewardscope.capturing.saving import Group
    from rewardscope.capturing.token_text import ReadTokens
    from rewardscope.stages.save_acts import Config

MAX_BATCH_TOKENS, CPU_BATCH_TOKENS = 16_384, 1024  # on a CPU a small batch stays in the caches
# of rows.parquet and sequences.parquet, at most about
_BYTES_PER_ROW, _BYTES_PER_TOKEN, _BYTES_PER_SCORE, _BYTES_PER_TRACE = 32, 4, 12, 40
_BYTES_PER_MEMBER = 300  # of a shard: the headers of one layer


class Plan(NamedTuple):
    """All that is known before the weights are read."""

    groups: "list[Group]"
    skipped: dict[str, int]
    layers: tuple[int, ...]
    width: int
    window: int
    dtype: "torch.dtype"
    batch_tokens: int
    read: "ReadTokens"

    @property
    def numbers(self) -> range:
        """The numbers of all groups."""
        return range(len(self.groups))

    def key(self, whole: Stage) -> str:
        """Return the key of partial work.

        `auto` may mean another type where a run goes on, and other code may group otherwise.
        """
        groups = hashlib.sha256(
            repr([(len(group.items), group.n_rows) for group in self.groups]).encode()
        ).hexdigest()
        return f"{whole.key} {self.dtype} {groups[:16]}"

    @property
    def items(self) -> "list[TraceInput]":
        """All traces, in the order of their rows."""
        return [item for group in self.groups for item in group.items]


def make_plan(config: "Config", source: Path, whole: Stage) -> Plan:
    """Choose, encode and group the traces. Whatever can be refused is refused here."""
    from rewardscope.capturing.inputs import Pick, PrmEncoder, encode_traces
    from rewardscope.capturing.policy import PolicyEncoder
    from rewardscope.capturing.saving import number_groups
    from rewardscope.capturing.token_text import token_reader
    from rewardscope.models.blocks import check_family, shape_of
    from rewardscope.models.device import pick_device
    from rewardscope.models.load import load_config, load_tokenizer
    from rewardscope.prms import find_adapter

    traces, device = select_traces(source, config), pick_device(config.device)
    is_policy = config.mode == "lm"
    check_model("--model-name" if is_policy else "--prm", config.model, writes=is_policy)
    adapter = find_adapter(config.prm) if config.mode == "rm" else None
    tokenizer, model_config = load_tokenizer(config.model), load_config(config.model)
    check_family(model_config)
    shape = shape_of(model_config)
    layers, window = (
        parse_layers(config.layers, shape.n_layers),
        config.prm_window or shape.window,
    )
    longest = window if config.beyond_window == "drop" else sys.maxsize
    encoder: TraceEncoder = (
        PrmEncoder(adapter, tokenizer, max_positions=longest)
        if adapter
        else PolicyEncoder(tokenizer, max_positions=longest, form=_prompts_of(source))
    )
    pick = Pick(config.positions, config.sample, config.seed)
    found = encode_traces(
        traces,
        encoder=encoder,
        pick=pick,
        known_scores=adapter is None or _scored_by_this_prm(source, whole),
    )
    for reason, count in found.skipped.items():
        get_logger().warning(
            f"save-acts: skipped {count} of {len(traces)} traces, {reason}; the first is"
            f" {found.examples[reason]}"
        )
    if isinstance(encoder, PolicyEncoder) and encoder.tokenised:
        get_logger().info(
            f"save-acts: {encoder.tokenised} of {len(traces)} traces have no token ids of"
            f" {config.model}; their text is tokenised, which may give other tokens"
        )
    if not found.items:
        reasons = ", ".join(f"{count} {reason}" for reason, count in found.skipped.items())
        raise MissingInput(
            f"{source}: the model can take none of the {len(traces)} traces ({reasons})"
        )
    return Plan(
        number_groups(found.items),
        found.skipped,
        layers,
        shape.width,
        window,
        _dtype_on_disk(config, device),
        config.batch_tokens or (CPU_BATCH_TOKENS if device.type == "cpu" else MAX_BATCH_TOKENS),
        token_reader(tokenizer),
    )


def _dtype_on_disk(config: "Config", device: "torch.device") -> "torch.dtype":
    """Return the type of the states that are written; float16 has no place in a shard."""
    import torch

    from rewardscope.models.device import pick_dtype

    chosen = config.model_dtype if config.dtype == "auto" else config.dtype
    return torch.float32 if chosen == "float16" else pick_dtype(device, chosen)


def _prompts_of(source: Path) -> PromptForm:
    """Return how the prompts of a generations file were made, as its manifest says."""
    extra = (read_manifest(source) or Manifest()).extra
    return msgspec.convert(extra.get("prompt_form", {}), PromptForm)


def _scored_by_this_prm(source: Path, whole: Stage) -> bool:
    """Say whether the scores of the generations file are those of the PRM whose states are kept, as
    its manifest shows.
    """
    manifest = read_manifest(source)
    made_with = manifest.inputs.get("prm") if manifest else None
    return made_with is not None and made_with.digest == whole.inputs["prm"].digest


def select_traces(source: Path, config: "Config") -> list[tuple[Problem, Trace]]:
    """Return the first `limit` traces of the wanted problems.

    Raises: BadRecord, MissingInput where none is left.
    """
    from rewardscope.storage.jsonl import read_solved

    wanted: list[tuple[Problem, Trace]] = []
    for solved in read_solved(source):
        held_out = is_test(solved.problem.id, share=TEST_SHARE, seed=SPLIT_SEED)
        if config.ds_split in ("full", "test" if held_out else "train"):
            wanted += [(solved.problem, trace) for trace in solved.traces]
    if not wanted:
        raise MissingInput(
            f"{source} has no problem of the {config.ds_split} split; pass --ds-split full or"
            " generate more"
        )
    return wanted[: config.limit]


def check_disk(plan: Plan, missing: "list[Group]", all_groups: "list[Group]", folder: Path) -> None:
    """Log what is still to be written. Raises: ConfigError where it does not fit."""
    rows, members = (
        sum(group.n_rows for group in missing),
        sum(len(group.shards) for group in missing) * len(plan.layers),
    )
    text = 0
    for item in (item for group in all_groups for item in group.items):
        text += (
            len(item.positions) * _BYTES_PER_ROW
            + len(item.encoded.input_ids) * _BYTES_PER_TOKEN
            + len(item.encoded.step_ends) * _BYTES_PER_SCORE
            + _BYTES_PER_TRACE
        )
    need = (
        rows * len(plan.layers) * plan.width * plan.dtype.itemsize
        + members * _BYTES_PER_MEMBER
        + text
    )
    free, n_reused = shutil.disk_usage(folder.parent).free, len(all_groups) - len(missing)
    reused = f", {n_reused} of {len(all_groups)} groups are there already" if n_reused else ""
    get_logger().info(
        f"save-acts: {rows} rows to capture need {_size(need)} of disk, {_size(free)} free{reused}"
    )
    if need > free:
        raise ConfigError(
            f"{folder} needs {_size(need)} and {_size(free)} are free; make room, or pass fewer"
            " --layers or a smaller --limit"
        )


def _size(n_bytes: float) -> str:
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.1f} MB"
