"""Hidden states to shards against the bare forward pass of the same batches, the naive loop, and
nnsight.

`python -m benchmarks capture` measures on the CPU, in CPU seconds with one thread; `python -m
benchmarks.bench_capture gpu` measures a model of the 7B shape on a GPU. nnsight runs in an
environment of its own: see `peers/make_nnsight.sh`.
"""

import itertools
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase, Qwen2Config, Qwen2Model

from benchmarks.measure import best_seconds, keep_row
from rewardscope.capturing.batches import plan_batches, plan_groups, stream_acts
from rewardscope.capturing.inputs import TraceInput, act_rows, act_sequence
from rewardscope.capturing.saving import number_groups, save_groups
from rewardscope.capturing.token_text import token_reader
from rewardscope.paths import PROJECT
from rewardscope.prms.scorer import padded_ids
from rewardscope.problems.tinymath import LEVELS, make_problem
from rewardscope.problems.tinymath_instruct import instruct_steps
from rewardscope.records import Encoded, Trace
from rewardscope.storage.acts import write_traces
from rewardscope.storage.journal import Journal
from rewardscope.storage.rows import RowTable
from rewardscope.storage.sequences import ActSequence
from rewardscope.tiny.tokenizer import build_tokenizer

STEP_TOKENS = 30  # of a step, on average: every 30th token is a step end
N_SEQUENCES, ROUNDS, PEER_ROUNDS = 60, 3, 1
PEER = PROJECT / ".peers" / "nnsight" / "bin" / "python"


@dataclass
class Source:
    """A bare decoder."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    n_layers: int
    window: int = 4096
    adapter: None = None


def make_items(
    n: int, low: int, high: int, *, tokenizer: PreTrainedTokenizerBase
) -> list[TraceInput]:
    """Return `n` solutions of `low` to `high` tokens of tinymath text; their kept positions are
    step ends.
    """
    rng, items, text = random.Random(0), [], []
    for number in range(n):
        length = rng.randint(low, high)
        while len(text) < length:
            problem = make_problem(rng, level=1 + number % len(LEVELS))
            text += tokenizer("\n".join([problem.question, *instruct_steps(problem, rng)]))[
                "input_ids"
            ]
        ids, text = tuple(text[:length]), text[length:]
        ends = tuple(sorted({*range(STEP_TOKENS - 1, length, STEP_TOKENS), length - 1}))
        trace = Trace(
            problem_id=f"tinymath/{number}",
            index=0,
            steps=("s",) * len(ends),
            scores=None,
            finish="eos",
            n_tokens=length,
        )
        items.append(
            TraceInput(
                trace.problem_id,
                "tinymath",
                trace,
                Encoded(input_ids=ids, step_ends=ends),
                ends,
                None,
            )
        )
    return items


def all_tokens(items: Sequence[TraceInput]) -> list[TraceInput]:
    return [item._replace(positions=range(len(item.encoded.input_ids))) for item in items]


def padded(batch: Sequence[TraceInput]) -> torch.Tensor:
    """Return the right-padded ids [B, T] of a batch."""
    return padded_ids([item.encoded for item in batch])


@torch.no_grad()
def bare_forward(source: Source, batches: Sequence[Sequence[TraceInput]]) -> None:
    for batch in batches:
        source.model(input_ids=padded(batch).to(source.model.device), use_cache=False)


def save(
    source: Source,
    items: Sequence[TraceInput],
    folder: Path,
    *,
    layers: Sequence[int],
    dtype: torch.dtype,
    batch_tokens: int,
) -> None:
    """Do what `save-acts` does once the model is loaded: shards, checksums, rows and sequences."""
    journal, groups = Journal(folder, "benchmark", resume=False), number_groups(items)
    save_groups(
        source,
        dict(enumerate(groups)),
        journal,
        layers=layers,
        dtype=dtype,
        batch_tokens=batch_tokens,
    )
    read = token_reader(source.tokenizer)

    def traces() -> Iterator[tuple[RowTable, ActSequence]]:
        captured = (item for group in groups for item in group.items)
        for number, item in enumerate(captured):
            texts = read(item.encoded.input_ids)
            yield (
                act_rows(item, None, texts, window=source.window, sequence=number),
                act_sequence(item, None, texts),
            )

    write_traces(folder, traces())


@torch.no_grad()
def naive(source: Source, items: Sequence[TraceInput], folder: Path) -> None:
    """One sequence at a time, all hidden states, one compressed file each."""
    for number, item in enumerate(items):
        out: Any = source.model(
            input_ids=torch.tensor([item.encoded.input_ids]),
            output_hidden_states=True,
            use_cache=False,
        )
        states = torch.stack(out.hidden_states[1:])[:, 0].half().numpy()
        np.savez_compressed(folder / f"{number}.npz", states=states)


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    tokenizer = build_tokenizer(n_problems=20)
    n_layers, batch_tokens = 8, 1024
    config = Qwen2Config(
        vocab_size=2000,
        hidden_size=256,
        intermediate_size=1024,
        num_hidden_layers=n_layers,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    source = Source(Qwen2Model(config).eval(), tokenizer, n_layers)
    ends = make_items(N_SEQUENCES, 50, 400, tokenizer=tokenizer)
    tokens = all_tokens(ends)
    n_tokens = sum(len(item.positions) for item in tokens)
    layers, batches = range(n_layers), {}
    for name, items in (("all tokens", tokens), ("step ends", ends)):
        batches[name] = [
            batch
            for group in number_groups(items)
            for batch in plan_batches(group.items, batch_tokens=batch_tokens)
        ]
    with tempfile.TemporaryDirectory() as folder:

        def ours(items: Sequence[TraceInput], dtype: torch.dtype) -> Callable[[], None]:
            return lambda: save(
                source, items, Path(folder), layers=layers, dtype=dtype, batch_tokens=batch_tokens
            )

        seconds = best_seconds(
            {
                "bare": lambda: bare_forward(source, batches["all tokens"]),
                "bare, step ends": lambda: bare_forward(source, batches["step ends"]),
                "all tokens, bfloat16": ours(tokens, torch.bfloat16),
                "all tokens, float32": ours(tokens, torch.float32),
                "step ends": ours(ends, torch.bfloat16),
            },
            rounds=ROUNDS,
        )
        slow = best_seconds(
            {
                "bare": lambda: bare_forward(source, batches["all tokens"]),
                "naive": lambda: naive(source, tokens, Path(folder)),
            },
            rounds=PEER_ROUNDS,
        )
        peer = nnsight_seconds(source, batches["all tokens"], Path(folder))
    tokens_in, ends_in, bare = (
        seconds["all tokens, bfloat16"],
        seconds["step ends"],
        seconds["bare"],
    )
    keep_row(
        "capture",
        {
            "what": "all layers of a random Qwen2, float32, one thread",
            "sequences": len(ends),
            "tokens": n_tokens,
            "layers": n_layers,
            "width": 256,
            "batch_tokens": batch_tokens,
            "rounds": ROUNDS,
            "bare_tokens_per_cpu_s": round(n_tokens / bare.cpu),
            "share_of_bare_all_tokens_bfloat16": round(bare.cpu / tokens_in.cpu, 3),
            "share_of_bare_all_tokens_float32": round(
                bare.cpu / seconds["all tokens, float32"].cpu, 3
            ),
            "share_of_bare_step_ends": round(seconds["bare, step ends"].cpu / ends_in.cpu, 3),
            "wall_share_of_bare_all_tokens_bfloat16": round(bare.wall / tokens_in.wall, 3),
            "rounds_of_peers": PEER_ROUNDS,
            "share_of_bare_naive_loop": round(slow["bare"].cpu / slow["naive"].cpu, 3),
            "times_naive_loop": round(
                slow["naive"].cpu / slow["bare"].cpu * bare.cpu / tokens_in.cpu, 2
            ),
            **peer,
        },
    )


def nnsight_seconds(
    source: Source, batches: Sequence[Sequence[TraceInput]], folder: Path
) -> dict[str, object]:
    """Time nnsight against the bare forward pass in its own process, on the same batches."""
    if not PEER.is_file():
        return {"nnsight": "not installed; run benchmarks/peers/make_nnsight.sh"}
    source.model.save_pretrained(folder / "model")
    torch.save(
        [(padded(batch), [len(item.encoded.input_ids) for item in batch]) for batch in batches],
        folder / "batches.pt",
    )
    script = Path(__file__).parent / "peers" / "nnsight_capture.py"
    done = subprocess.run(
        [PEER, script, folder, str(PEER_ROUNDS)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        return {"nnsight": f"failed: {done.stderr.strip().splitlines()[-1]}"}
    found = json.loads(done.stdout.splitlines()[-1])
    return {
        "nnsight": found["version"],
        "share_of_bare_nnsight": round(found["bare"] / found["nnsight"], 3),
    }


def gpu() -> None:
    """Measure tokens a second of a random model of the 7B shape in bfloat16: bare, streamed, and to
    disk.
    """
    if not torch.cuda.is_available():
        raise SystemExit("bench_capture gpu: no CUDA device is there")
    torch.set_default_dtype(torch.bfloat16)
    config = Qwen2Config(
        vocab_size=152_064,
        hidden_size=3584,
        intermediate_size=18_944,
        num_hidden_layers=28,
        num_attention_heads=28,
        num_key_value_heads=4,
        max_position_embeddings=4096,
    )
    with torch.device("cuda"):
        model = Qwen2Model(config).eval()
    torch.set_default_dtype(torch.float32)
    tokenizer = build_tokenizer(n_problems=20)
    source = Source(model, tokenizer, config.num_hidden_layers)
    ends = make_items(512, 200, 2000, tokenizer=tokenizer)
    tokens, every, some = all_tokens(ends), range(28), (6, 13, 20, 27)
    n_tokens, speed = sum(len(item.positions) for item in tokens), {}
    batches = [
        batch
        for group in plan_groups(tokens, rows=1)
        for batch in plan_batches(group, batch_tokens=16_384)
    ]
    options = {"dtype": torch.bfloat16, "batch_tokens": 16_384}
    with tempfile.TemporaryDirectory() as folder:
        for name, run in {
            "bare": lambda: bare_forward(source, batches),
            "stream, all tokens, 28 layers": lambda: drain(
                stream_acts(source, tokens, every, **options)
            ),
            "stream, step ends, 28 layers": lambda: drain(
                stream_acts(source, ends, every, **options)
            ),
            "disk, all tokens, 4 layers": lambda: save(
                source, tokens, Path(folder) / "tokens", layers=some, **options
            ),
            "disk, step ends, 28 layers": lambda: save(
                source, ends, Path(folder) / "ends", layers=every, **options
            ),
        }.items():
            bare_forward(source, batches[:2])
            torch.cuda.synchronize()
            started = time.perf_counter()
            run()
            torch.cuda.synchronize()
            speed[name] = n_tokens / (time.perf_counter() - started)
    what = f"random Qwen2 of the 7B shape, bfloat16, {torch.cuda.get_device_name()}"
    keep_row(
        "capture",
        {
            "what": what,
            "sequences": len(ends),
            "tokens": n_tokens,
            "batch_tokens": 16_384,
            "runs": 1,
            "bare_tokens_per_s": round(speed["bare"]),
            "share_of_bare": {
                name: round(value / speed["bare"], 3)
                for name, value in itertools.islice(speed.items(), 1, None)
            },
        },
    )


def drain(stream: Any) -> None:
    for _ in stream:
        pass


if __name__ == "__main__":
    gpu() if sys.argv[1:] == ["gpu"] else main()
