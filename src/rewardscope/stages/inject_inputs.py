"""What `inject` reads: the features to look at, and the inputs of the model as they were when the
states of the instruct folder were saved.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rewardscope.errors import BadRecord, ConfigError, MissingInput
from rewardscope.features.diff_table import read_parts
from rewardscope.log import get_logger
from rewardscope.paths import slug
from rewardscope.stage import require
from rewardscope.storage.jsonl import read_solved

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from rewardscope.capturing.inputs import TraceEncoder
    from rewardscope.features.injection import Text
    from rewardscope.storage.acts import ActStore


class Source(NamedTuple):
    """The model whose states are looked at, and how it is shown a trace."""

    model: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerBase"
    encoder: "TraceEncoder"
    window: int
    """Positions that it was trained on."""


def chosen_features(
    parts: Sequence[Path],
    layers: Sequence[int],
    features: Sequence[int],
    *,
    pair: tuple[str, str],
    top: int,
) -> dict[int, list[int]]:
    """Return the features of each layer: those that are named, or of those that favour reasoning
    the `top` with the largest difference of firing rates.

    Of several pairs of data sets that were compared the given one counts, if it is there. Raises:
    ConfigError where features are named for several layers; MissingInput where there are none.
    """
    if features:
        if len(layers) != 1:
            shown = ",".join(map(str, layers))
            raise ConfigError(f"--features are of one layer, not of {shown}; pass --layers L")
        return {layers[0]: sorted(set(features))}
    rows = [row for row in read_parts(parts) if row.favours == "reasoning"]
    of_pair = [row for row in rows if (row.reasoning, row.instruct) == pair]
    chosen: dict[int, list[int]] = {}
    for layer in layers:
        mine = [row for row in of_pair or rows if row.layer == layer]
        ranked = dict.fromkeys(r.feature for r in sorted(mine, key=lambda r: -r.difference))
        if len(ranked) > top:
            get_logger().info(
                f"inject: layer {layer}: {len(ranked)} features favour reasoning; the {top} with"
                " the largest difference are looked at (--top)"
            )
        if ranked:
            chosen[layer] = list(ranked)[:top]
    if not chosen:
        raise MissingInput(
            "inject: no feature favours reasoning in the tables of feature-diff; name some with"
            " --features"
        )
    return chosen


def check_folder(store: "ActStore") -> None:
    """Raises: ConfigError where not every token was captured."""
    if store.info.positions != "all-tokens":
        raise ConfigError(
            f"{store.folder} holds {store.info.positions or 'unknown'} positions; inject needs"
            " every token: invoke save-acts --positions all-tokens"
        )


def model_of(store: "ActStore", prm: str | None) -> str:
    """Return the model whose states a folder holds.

    Raises: ConfigError where that is not the given one, or nothing says which it is.
    """
    known = store.info.model or store.info.prm
    if prm and known and slug(prm) != slug(known):
        raise ConfigError(
            f"--prm {prm}: the states of {store.folder} are of {known}; pass that, or other folders"
        )
    if not (prm or known):
        raise ConfigError(f"{store.folder} does not say which model its states are of; pass --prm")
    return prm or str(known)


def load_source(name: str, mode: str, device: "torch.device") -> Source:
    """Load the PRM (mode rm) or the policy (lm) whose states are looked at."""
    from rewardscope.capturing.inputs import PrmEncoder
    from rewardscope.capturing.policy import PolicyEncoder, PolicyStates
    from rewardscope.models.device import pick_dtype
    from rewardscope.prms.scorer import HfScorer

    if mode == "rm":
        scorer = HfScorer(name, device=str(device), beyond="score")
        encoder = PrmEncoder(scorer.adapter, scorer.tokenizer, max_positions=sys.maxsize)
        return Source(scorer.model, scorer.tokenizer, encoder, scorer.window)
    policy = PolicyStates(name, device=device, dtype=pick_dtype(device))
    shown = PolicyEncoder(policy.tokenizer, max_positions=sys.maxsize)
    return Source(policy.model, policy.tokenizer, shown, policy.window)


def generations_of(store: "ActStore") -> Path:
    """Return the file that a folder's states were made from. Raises: MissingInput."""
    named = store.info.generations
    if named is None:
        raise MissingInput(f"{store.folder} does not say which generations it was made from")
    return require(Path(named), named, "infer")


def read_texts(
    store: "ActStore", source: Source, *, limit: int, room: int
) -> "tuple[list[Text], dict[str, int]]":
    """Return at most `limit` solutions of a folder as the model was shown them, of as many problems
    as there are, and how many were left out, by reason.

    `room`: how many tokens may be put into a window of that many. Raises: BadRecord where the
    generations are no longer those of the folder; MissingInput where no text is left.
    """
    from rewardscope.features.injection import Text

    rows = store.rows
    starts = (rows.sequence_N[1:] != rows.sequence_N[:-1]).nonzero()[0] + 1
    begins, ends = [0, *starts.tolist()], [*starts.tolist(), len(rows)]
    spans = {
        (rows.problems[int(rows.problem_N[a])], int(rows.trace_N[a])): (a, b)
        for a, b in zip(begins, ends, strict=True)
        if b > a
    }
    problems = {solved.problem.id: solved for solved in read_solved(generations_of(store))}
    rank: dict[str, int] = {}
    ordered = []
    for problem, index in spans:  # the first trace of every problem, then the second, ...
        rank[problem] = rank.get(problem, -1) + 1
        ordered.append((rank[problem], problem, index))
    ordered.sort(key=lambda item: item[0])
    texts, too_long = [], 0
    for _, problem, index in ordered:
        if len(texts) == limit:
            break
        solved = problems.get(problem)
        trace = next((t for t in solved.traces if t.index == index), None) if solved else None
        if solved is None or trace is None:
            raise BadRecord(f"{store.folder}: its generations have no trace {index} of {problem}")
        encoded = source.encoder.encode(solved.problem.question, trace)
        a, b = spans[problem, index]
        start = int(rows.token_N[a])
        stop = start + b - a
        if encoded.input_ids[start:stop] != tuple(rows.token_id_N[a:b].tolist()):
            raise BadRecord(
                f"{store.folder}: trace {index} of {problem} has other tokens now; its generations,"
                " or the tokenizer, changed: re-run invoke save-acts"
            )
        if stop + 3 * (stop - start) // room + 3 > source.window:
            too_long += 1
            continue
        texts.append(Text(problem, encoded.input_ids[:stop], start, stop))
    if not texts:
        raise MissingInput(f"{store.folder}: no solution leaves room for what is put in")
    return texts, {"too long for what is put in": too_long} if too_long else {}
