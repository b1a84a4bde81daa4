"""`save-acts`: run a PRM over the traces of a generations file and keep its hidden states and scores."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from rewardscope import paths
from rewardscope.errors import ConfigError, MissingInput
from rewardscope.layers import check_layers, parse_layers
from rewardscope.log import get_logger, progress
from rewardscope.prms import DEFAULT_PRM
from rewardscope.probes.splits import is_test
from rewardscope.records import Problem, Trace
from rewardscope.settings import Settings
from rewardscope.stage import Stage, StageConfig, option, require

if TYPE_CHECKING:
    import torch

    from rewardscope.prms.items import Item, Pick, TraceEncoder
    from rewardscope.storage.shards import PartialActs

# Shape legend: N rows, D width.
TEST_SHARE, SPLIT_SEED = 0.2, 0  # the split of train-linreg unless its flags say otherwise
MAX_BATCH_TOKENS = 16_384
_BYTES_PER_ROW, _BYTES_PER_TOKEN = 160, 12  # of rows.jsonl and sequences.jsonl, about


@dataclass(frozen=True, kw_only=True)
class Config(StageConfig):
    """Save a PRM's hidden states and scores on generated solutions.

    Layer l is the residual stream after decoder block l, from 0, before the final norm. Rows are the step ends, where the
    PRM scores, or all tokens of the solution up to the last step end (never the prompt). Writes math-<mode>-<ds-name>/.
    """

    ds_name: str = option(help="generations file: a path, or a name below --base-path, with or without .jsonl", key=False)
    base_path: Path | None = option(None, help="data folder, read and written (default: that of the settings)", key=False)
    ds_split: Literal["full", "train", "test"] = option(
        "full", help="problems: full, train (80 %) or test (20 %), split by a hash of the id"
    )
    mode: Literal["rm"] = option("rm", help="whose states: rm, the reward model's")
    prm: str = option(DEFAULT_PRM, help="hub id or folder of the PRM")
    limit: int = option(10_000, help="at most this many traces (not problems), the first of the file")
    layers: str = option("all", help="layers: all, 15, 0-27 or 0,3,5-7")
    positions: Literal["step-ends", "all-tokens"] = option("step-ends", help="step-ends or all-tokens (of the solution)")
    dtype: Literal["auto", "float32", "bfloat16"] = option("auto", help="type on disk: auto (the one the PRM runs in), float32 or bfloat16")
    device: str = option("auto", help="auto, cpu, cuda or cuda:0", key=False)
    batch_tokens: int = option(MAX_BATCH_TOKENS, help=f"padded tokens of a forward pass, at most {MAX_BATCH_TOKENS}", key=False)

    def __post_init__(self) -> None:
        check_layers(self.layers)
        if self.limit < 1:
            raise ConfigError(f"--limit {self.limit}: at least 1 trace is needed")
        if not 1 <= self.batch_tokens <= MAX_BATCH_TOKENS:
            raise ConfigError(f"--batch-tokens {self.batch_tokens}: it must be 1 to {MAX_BATCH_TOKENS}")


class Group(NamedTuple):
    """Whole traces whose rows fill one shard, or one trace that fills several. The unit of resume."""

    items: "list[Item]"
    shards: list[Path]


def run(config: Config, settings: Settings) -> Path:
    """Capture, write shards and where their rows come from; return the folder."""
    base = config.base_path or settings.data_dir
    source = require(paths.find_input(config.ds_name, base, suffix=".jsonl"), config.ds_name, "infer")
    if source.is_dir():
        raise ConfigError(f"--ds-name {config.ds_name}: {source} is a folder; name a generations file")
    out = paths.acts_dir(base, config.mode, source)
    stage = Stage("save-acts", config, inputs={"generations": source, "prm": config.prm}, out=out)
    if stage.is_done():
        return out
    import torch

    from rewardscope.models.load import load_tokenizer, pick_device, pick_dtype
    from rewardscope.prms import find_adapter
    from rewardscope.prms.items import Pick, PrmEncoder, act_rows
    from rewardscope.prms.token_text import token_reader
    from rewardscope.storage.shards import PartialActs, write_act_rows

    # Everything that can be refused is refused before the weights are loaded.
    traces = select_traces(source, config)
    adapter, tokenizer, shape = find_adapter(config.prm), load_tokenizer(config.prm), read_shape(config.prm)
    layers = parse_layers(config.layers, shape.n_layers)
    dtype = pick_dtype(pick_device(config.device)) if config.dtype == "auto" else getattr(torch, config.dtype)

    encoder = PrmEncoder(adapter, tokenizer, max_positions=shape.max_positions)
    items, skipped = encode_traces(traces, encoder, Pick(config.positions, sample=1, seed=0))
    if not items:
        reasons = ", ".join(f"{count} {reason}" for reason, count in skipped.items())
        raise MissingInput(f"{source}: the PRM can score none of the {len(traces)} traces ({reasons})")
    groups = group_items(items, out)
    # The type is part of the key of partial work: `auto` may mean another one where a run goes on.
    partial = PartialActs(out, f"{stage.key} {dtype}", resume=not config.force)
    _check_disk(out, groups, set(partial.done), row_bytes=len(layers) * shape.width * dtype.itemsize)
    with stage:
        _capture_missing(groups, partial, layers, dtype, config)
        scores = [trace_scores for index in range(len(groups)) for trace_scores in partial.done[index]]
        scored, read_tokens = list(zip(items, scores, strict=True)), token_reader(tokenizer)
        text_files = write_act_rows(
            out,
            rows=(
                row
                for item, trace_scores in scored
                for row in act_rows(item, trace_scores, read_tokens(item.encoded.input_ids), window=shape.max_positions)
            ),
            sequences=(_sequence(item, trace_scores, read_tokens(item.encoded.input_ids)) for item, trace_scores in scored),
        )
        extra = {
            "layers": list(layers), "width": shape.width, "prm": config.prm, "positions": config.positions,
            "dtype": str(dtype).removeprefix("torch."), "generations": str(source),
            "traces": len(items), "problems": len({item.problem for item in items}),
        }  # fmt: skip
        shards = [shard for group in groups for shard in group.shards]
        stage.finish([*shards, *text_files], rows=sum(len(item.positions) for item in items), skipped=skipped, extra=extra)
        partial.finish()
    return out


class PrmShape(NamedTuple):
    """The size of a PRM, from its config alone."""

    n_layers: int
    width: int
    max_positions: int


def read_shape(prm: str) -> PrmShape:
    """Read a PRM's size without its weights."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(prm, trust_remote_code=False)
    return PrmShape(config.num_hidden_layers, config.hidden_size, config.max_position_embeddings)


def select_traces(source: Path, config: Config) -> list[tuple[Problem, Trace]]:
    """Return the first `limit` traces of the wanted problems. Raises: BadRecord, MissingInput where none is left."""
    from rewardscope.storage.jsonl import read_solved

    wanted: list[tuple[Problem, Trace]] = []
    for solved in read_solved(source):
        held_out = is_test(solved.problem.id, share=TEST_SHARE, seed=SPLIT_SEED)
        if config.ds_split in ("full", "test" if held_out else "train"):
            wanted += [(solved.problem, trace) for trace in solved.traces]
    if not wanted:
        raise MissingInput(f"{source} has no problem of the {config.ds_split} split; pass --ds-split full or generate more")
    return wanted[: config.limit]


def encode_traces(traces: Sequence[tuple[Problem, Trace]], encoder: "TraceEncoder", pick: "Pick") -> tuple[list["Item"], dict[str, int]]:
    """Return the traces that the PRM can take, and how many it cannot, by reason; log one line a reason."""
    from rewardscope.prms.items import encode_items

    found = encode_items(traces, encoder=encoder, pick=pick, known_scores=False)
    for reason, count in found.skipped.items():
        get_logger().warning(f"save-acts: skipped {count} of {len(traces)} traces, {reason}; the first is {found.examples[reason]}")
    return found.items, found.skipped


def group_items(items: Sequence["Item"], out: Path) -> list[Group]:
    """Pack traces, in order, into groups of at most a shard's rows; a longer trace is a group of several shards."""
    from rewardscope.storage.shards import SHARD_ROWS, shard_file

    packed: list[list[Item]] = []
    filled = 0
    for item in items:
        if not packed or filled + len(item.positions) > SHARD_ROWS:
            packed.append([])
            filled = 0
        packed[-1].append(item)
        filled += len(item.positions)
    groups, n_shards = [], 0
    for part in packed:
        count = -(-sum(len(item.positions) for item in part) // SHARD_ROWS)
        groups.append(Group(part, [shard_file(out, n_shards + index) for index in range(count)]))
        n_shards += count
    return groups


def _check_disk(out: Path, groups: Sequence[Group], done: set[int], *, row_bytes: int) -> None:
    """Log what is still to be written. Raises: ConfigError where it does not fit."""
    items = [item for group in groups for item in group.items]
    missing = sum(len(item.positions) for index, group in enumerate(groups) if index not in done for item in group.items)
    text = sum(len(item.positions) * _BYTES_PER_ROW + len(item.encoded.input_ids) * _BYTES_PER_TOKEN for item in items)
    need, free = missing * row_bytes + text, shutil.disk_usage(out).free
    reused = f", {len(done)} of {len(groups)} groups are there already" if done else ""
    get_logger().info(f"save-acts: {missing} rows to capture need {_size(need)} of disk, {_size(free)} free{reused}")
    if need > free:
        raise ConfigError(f"{out} needs {_size(need)} and {_size(free)} are free; make room, or pass fewer --layers or a smaller --limit")


def _capture_missing(groups: Sequence[Group], partial: "PartialActs", layers: Sequence[int], dtype: "torch.dtype", config: Config) -> None:
    """Capture and write the groups that are not on disk; the PRM is loaded only where there is one."""
    import torch

    from rewardscope.prms.acts import capture_batches, plan_batches
    from rewardscope.prms.scorer import HfScorer
    from rewardscope.storage.shards import SHARD_ROWS, write_shard

    missing = [index for index in range(len(groups)) if index not in partial.done]
    if not missing:
        return
    scorer = HfScorer(config.prm, device=config.device)
    for index in progress(missing, "capture", unit="shard"):
        group = groups[index]
        passes = list(capture_batches(scorer, plan_batches(group.items, batch_tokens=config.batch_tokens), layers, dtype=dtype))
        acts = {layer: torch.cat([captured.acts[layer] for captured in passes]) for layer in layers}
        scores = [trace_scores or () for captured in passes for trace_scores in captured.scores]
        for number, shard in enumerate(group.shards):
            write_shard(shard, {layer: acts_ND[number * SHARD_ROWS : (number + 1) * SHARD_ROWS] for layer, acts_ND in acts.items()})
        partial.add(index, shards=group.shards, scores=scores)


def _sequence(item: "Item", scores: Sequence[float], tokens: list[str]) -> dict:
    return {
        "problem": item.problem, "trace": item.trace.index, "tokens": tokens, "step_ends": item.encoded.step_ends, "scores": scores,
        "correct": item.trace.correct,
    }  # fmt: skip


def _size(n_bytes: float) -> str:
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.1f} MB"
