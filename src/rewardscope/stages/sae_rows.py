"""The rows that `train-sae` trains on: folders of save-acts, or a model that runs over generated
solutions while it trains.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rewardscope.errors import ConfigError, MissingInput
from rewardscope.layers import parse_layers, pick_layers, show_layers
from rewardscope.log import get_logger
from rewardscope.paths import slug
from rewardscope.stages.acts_plan import CPU_BATCH_TOKENS, MAX_BATCH_TOKENS
from rewardscope.stages.model_flags import check_model

if TYPE_CHECKING:
    import numpy as np

    from rewardscope.capturing.inputs import TraceInput
    from rewardscope.prms.scorer import HfScorer
    from rewardscope.sae.train.ranks import Team
    from rewardscope.sae.train.stream import LayerBatch, RowSource
    from rewardscope.stages.train_sae_flags import Config
    from rewardscope.storage.acts import ActStore


class Rows(NamedTuple):
    """What to train on and what to measure on, with no problem on both sides.

    `layers` are those of all processes; the rows are those of the layers of this one.
    """

    layers: tuple[int, ...]
    width: int
    train: "RowSource"
    held: "Callable[[], Iterator[tuple[LayerBatch, np.ndarray]]]"
    """Gives held-out rows at these layers, with the code of each row's problem: its position in
    `problems`.
    """
    problems: tuple[str, ...]
    held_out: frozenset[str]
    names: list[str]
    """Of the folders or files."""
    prm: str | None


def open_shards(folders: list[Path], config: "Config", *, team: "Team") -> Rows:
    """Read where the rows of the folders come from.

    Raises: ConfigError where they do not go together.
    """
    from rewardscope.sae.train.stream import ShardSource, split_rows
    from rewardscope.storage.acts import ActStore

    stores = [ActStore(folder) for folder in folders]
    layers = _common_layers(config, stores)
    own = team.own_layers(layers)
    split = split_rows(stores, share=config.holdout, seed=config.split_seed)
    return Rows(
        layers,
        stores[0].width,
        ShardSource(split.train, own),
        ShardSource(split.held, own).held,
        split.problems,
        split.held_out,
        [slug(folder) for folder in folders],
        stores[0].info.prm,
    )


def _common_layers(config: "Config", stores: "list[ActStore]") -> tuple[int, ...]:
    """Return the layers to train on. Raises: ConfigError where the folders do not go together."""
    widths = {store.width for store in stores}
    if len(widths) > 1:
        shown = ", ".join(f"{store.folder} {store.width}" for store in stores)
        raise ConfigError(
            f"--ds-names: the folders have states of different widths ({shown}); train one run for"
            " each PRM"
        )
    shared = sorted(set(stores[0].layers).intersection(*(store.layers for store in stores)))
    if not shared:
        shown = ", ".join(f"{store.folder} {show_layers(store.layers)}" for store in stores)
        raise ConfigError(f"--ds-names: no layer was captured in every folder ({shown})")
    return pick_layers(config.layers, shared)


def open_forward(files: list[Path], config: "Config", *, team: "Team") -> Rows:
    """Encode the solutions of the files and load the PRM.

    Raises: ConfigError, MissingInput where it can take none of them.
    """
    import numpy as np

    from rewardscope.prms.scorer import HfScorer
    from rewardscope.sae.train.forward_rows import ForwardSource
    from rewardscope.sae.train.stream import hold_out

    where = ", ".join(map(str, files))
    check_model("--prm", config.prm)
    scorer = HfScorer(config.prm, device=config.device, dtype=config.dtype)
    layers = parse_layers(config.layers, scorer.n_layers)
    own = team.own_layers(layers)
    items = _encoded(files, config, scorer)
    problems, is_held_P = hold_out(
        {item.problem for item in items}, share=config.holdout, seed=config.split_seed, where=where
    )
    codes = {name: code for code, name in enumerate(problems)}
    held_out = frozenset(problems[code] for code in np.flatnonzero(is_held_P))
    batch_tokens = config.batch_tokens or (
        CPU_BATCH_TOKENS if scorer.model.device.type == "cpu" else MAX_BATCH_TOKENS
    )
    train, held = (
        ForwardSource(scorer, chosen, own, width=scorer.width, batch_tokens=batch_tokens)
        for chosen in (
            [item for item in items if item.problem not in held_out],
            [item for item in items if item.problem in held_out],
        )
    )
    return Rows(
        layers,
        scorer.width,
        train,
        lambda: held.held(codes),
        problems,
        held_out,
        [slug(file) for file in files],
        config.prm,
    )


def _encoded(files: list[Path], config: "Config", scorer: "HfScorer") -> "list[TraceInput]":
    from rewardscope.capturing.inputs import Pick, PrmEncoder, encode_traces
    from rewardscope.storage.jsonl import read_solved

    traces = [
        (solved.problem, trace)
        for file in files
        for solved in read_solved(file)
        for trace in solved.traces
    ]
    encoder = PrmEncoder(scorer.adapter, scorer.tokenizer, max_positions=scorer.max_positions)
    found = encode_traces(
        traces, encoder=encoder, pick=Pick(config.positions, 0, 0), known_scores=False
    )
    for reason, count in found.skipped.items():
        get_logger().warning(
            f"train-sae: skipped {count} of {len(traces)} traces, {reason}; the first is"
            f" {found.examples[reason]}"
        )
    if not found.items:
        raise MissingInput(
            f"{', '.join(map(str, files))}: the PRM can take none of the {len(traces)} traces"
        )
    return found.items
