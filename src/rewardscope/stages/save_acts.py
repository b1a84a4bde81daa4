"""`save-acts`: run a PRM, or the policy itself, over the traces of a generations file and keep
hidden states and scores.
"""

import functools
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rewardscope import paths
from rewardscope.errors import ConfigError
from rewardscope.layers import check_layers
from rewardscope.log import get_logger
from rewardscope.prms import DEFAULT_PRM, Beyond
from rewardscope.settings import Settings
from rewardscope.stage import MOST_PARTS, Stage, Units, check_part, find_required, option
from rewardscope.stages.acts_plan import MAX_BATCH_TOKENS, Plan, check_disk, make_plan
from rewardscope.stages.model_flags import DTYPE_HELP, DtypeName, RevisionFlag
from rewardscope.storage.journal import Journal, find_damaged

if TYPE_CHECKING:
    from rewardscope.capturing.batches import StateSource
    from rewardscope.storage.rows import RowTable
    from rewardscope.storage.sequences import ActSequence


@dataclass(frozen=True, kw_only=True)
class Config(RevisionFlag):
    """Save a PRM's hidden states and scores on generated solutions, or the states of the policy
    itself.

    Layer l is the residual stream after decoder block l, from 0, before the final norm. Rows are
    the step ends, where the PRM scores; all tokens of the solution up to the last step end (never
    the prompt); the last step end; or a sample of the tokens. With --mode lm the states are those
    of --model-name on its own prompt, and rewards are those of the generations file. Writes
    math-<mode>-<ds-name>/.
    """

    ds_name: str = option(
        help="generations file: a path, or a name below --base-path, with or without .jsonl",
        key=False,
    )
    base_path: Path | None = option(
        None, help="data folder, read and written (default: that of the settings)", key=False
    )
    name: str | None = option(
        None, help="stands for the generations file in the name of the result", key=False
    )
    ds_split: Literal["full", "train", "test"] = option(
        "full", help="problems: full, train (80 %) or test (20 %), split by a hash of the id"
    )
    mode: Literal["rm", "lm"] = option(
        "rm", help="whose states: rm, the reward model's, or lm, the policy's"
    )
    prm: str = option(DEFAULT_PRM, help="with --mode rm: hub id or folder of the PRM", model=True)
    prm_window: int | None = option(
        None,
        help=(
            "tokens of an input that the PRM was trained for (default: the positions of its config)"
        ),
    )
    beyond_window: Beyond = option(
        "drop", help="a trace beyond that: drop it, or score it all the same and mark its rows"
    )
    model_name: str | None = option(
        None, help="with --mode lm: hub id or folder of the policy", model=True
    )
    limit: int = option(
        10_000, help="at most this many traces (not problems), the first of the file"
    )
    layers: str = option("all", help="layers: all, 15, 0-27 or 0,3,5-7")
    positions: Literal["step-ends", "all-tokens", "last", "sample"] = option(
        "step-ends", help="step-ends, all-tokens (of the solution), last or sample"
    )
    sample: int = option(64, help="with --positions sample: tokens of each trace")
    seed: int = option(
        0, help="of --positions sample; a trace's sample does not depend on the other traces"
    )
    dtype: Literal["auto", "float32", "bfloat16"] = option(
        "auto",
        help=(
            "type on disk: float32, bfloat16, or auto (the one the model runs in; of float16"
            " float32)"
        ),
    )
    model_dtype: DtypeName = option("auto", help=DTYPE_HELP, later=True)
    batch_tokens: int | None = option(
        None,
        help=(
            f"padded tokens of a forward pass, at most {MAX_BATCH_TOKENS} (default: 1024 on the"
            " CPU, else the most)"
        ),
        key=False,
    )
    part: int = option(1, help="which part of the traces to do, from 1", key=False)
    total: int = option(
        1,
        help="how many parts the traces are dealt to; the last part done joins them",
        key=False,
        at_most=MOST_PARTS,
    )

    def __post_init__(self) -> None:
        check_layers(self.layers)
        check_part(self.part, self.total)
        for name in ("limit", "sample", "prm_window"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"--{name.replace('_', '-')} {value}: at least 1 is needed")
        if self.batch_tokens is not None and not 1 <= self.batch_tokens <= MAX_BATCH_TOKENS:
            raise ConfigError(
                f"--batch-tokens {self.batch_tokens}: it must be 1 to {MAX_BATCH_TOKENS}"
            )
        if (self.mode == "lm") != (self.model_name is not None):
            raise ConfigError(
                "--mode lm and --model-name go together: the states are those of that policy"
            )

    @property
    def model(self) -> str:
        """The model whose states are kept."""
        return self.model_name or self.prm


def run(config: Config, settings: Settings) -> Path:
    """Capture, write shards and where their rows come from; return the folder, or that of the
    part.
    """
    config = config.revised("prm" if config.mode == "rm" else "model_name")
    base = config.base_path or settings.data_dir
    source = find_required(config.ds_name, base, "infer", suffix=".jsonl")
    if source.is_dir():
        raise ConfigError(
            f"--ds-name {config.ds_name}: {source} is a folder; name a generations file"
        )
    out = paths.acts_dir(base, config.mode, config.name or source)
    inputs = {"generations": source, "prm" if config.mode == "rm" else "policy": config.model}
    whole = Stage("save-acts", config, inputs=inputs, out=out)
    if not _is_damaged(whole) and whole.is_done():
        return out
    place = functools.partial(paths.acts_part_dir, out, total=config.total)
    units = Units(whole, part=config.part, total=config.total, place=place)
    # What is wrong with a whole result is mended in it, whichever part is asked for.
    if config.total == 1 or whole.has_result():
        plan = make_plan(config, source, whole)
        with whole:
            _finish(whole, plan, _capture(plan, plan.numbers, config, whole, whole), config, source)
        return out
    return _run_part(units, config, source)


def _is_damaged(whole: Stage) -> bool:
    """Say whether shards of a finished folder are not what was written; their groups, and no
    others, are computed again.
    """
    if whole.config.force or not whole.has_result():
        return False
    wrong = find_damaged(whole.out)
    for one in wrong:
        get_logger().warning(f"save-acts: {one}; its group is computed again")
    return bool(wrong)


def _run_part(units: Units, config: Config, source: Path) -> Path:
    """Do a part, and join the parts where it was the last one.

    A join that was killed goes on, whichever part is called.
    """
    whole, stage, plan = units.whole, units.own, None
    if config.force or not units.are_done():
        if stage.is_done():
            return stage.out
        plan = make_plan(config, source, whole)
        # every total-th, so that parts have traces of every length
        mine = plan.numbers[config.part - 1 :: config.total]
        with stage:
            journal = _capture(plan, mine, config, whole, stage)
            files = {stage.work / mark.name: mark.sha256 for mark in journal.marks()}
            stage.finish(
                files,
                rows=sum(plan.groups[number].n_rows for number in mine),
                skipped=plan.skipped,
                digests=files,
            )

    def join(whole: Stage, parts: Sequence[Path]) -> None:
        known = plan or make_plan(config, source, whole)
        key = known.key(whole)
        Journal(whole.work, key, resume=True).adopt(
            [Journal(part, key, resume=True) for part in parts]
        )
        journal = _capture(known, known.numbers, config, whole, whole)
        _finish(whole, known, journal, config, source)
        for part in parts:
            shutil.rmtree(part)

    return whole.out if units.join(join) else stage.out


def _capture(
    plan: Plan, numbers: Sequence[int], config: Config, whole: Stage, stage: Stage
) -> Journal:
    """Write the groups that are not there yet; the model is loaded only where there is one.

    Return the journal of all.
    """
    journal = Journal(stage.work, plan.key(whole), resume=True)
    if not config.force:
        journal.link(stage.out)
    missing = {number: plan.groups[number] for number in numbers if number not in journal.done}
    check_disk(plan, list(missing.values()), [plan.groups[number] for number in numbers], stage.out)
    if missing:
        from rewardscope.capturing.saving import save_groups

        save_groups(
            _load(config, plan),
            missing,
            journal,
            layers=plan.layers,
            dtype=plan.dtype,
            batch_tokens=plan.batch_tokens,
        )
    return journal


def _load(config: Config, plan: Plan) -> "StateSource":
    from rewardscope.capturing.policy import PolicyStates
    from rewardscope.models.device import pick_device, pick_dtype
    from rewardscope.prms.scorer import HfScorer

    if config.mode == "rm":
        return HfScorer(
            config.prm,
            device=config.device,
            dtype=config.model_dtype,
            window=plan.window,
            beyond=config.beyond_window,
        )
    device = pick_device(config.device)
    return PolicyStates(config.model, device=device, dtype=pick_dtype(device, config.model_dtype))


def _finish(stage: Stage, plan: Plan, journal: Journal, config: Config, source: Path) -> None:
    """Write where the rows come from, and the manifest with what each shard was when it was
    written.
    """
    from rewardscope.capturing.inputs import act_rows, act_sequence
    from rewardscope.storage.acts import write_traces

    def traces() -> "Iterator[tuple[RowTable, ActSequence]]":
        count = 0
        for number, group in enumerate(plan.groups):
            for item, scores in zip(group.items, journal.done[number].scores, strict=True):
                texts = plan.read(item.encoded.input_ids)
                rows = act_rows(item, scores, texts, window=plan.window, sequence=count)
                yield rows, act_sequence(item, scores, texts)
                count += 1

    text_files, shards = (
        write_traces(stage.work, traces()),
        {stage.work / mark.name: mark.sha256 for mark in journal.marks()},
    )
    items = plan.items
    extra = {
        "layers": list(plan.layers),
        "width": plan.width,
        "mode": config.mode,
        "model": config.model,
        "prm": config.prm if config.mode == "rm" else None,
        "positions": config.positions,
        "window": plan.window,
        "dtype": str(plan.dtype).removeprefix("torch."),
        "generations": str(source),
        "traces": len(items),
        "problems": len({item.problem for item in items}),
        "shards": {mark.name: [mark.bytes, mark.members] for mark in journal.marks()},
    }
    n_rows = sum(len(item.positions) for item in items)
    stage.finish(
        [*shards, *text_files], rows=n_rows, skipped=plan.skipped, extra=extra, digests=shards
    )
