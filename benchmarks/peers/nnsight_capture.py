"""Run by the interpreter of nnsight's environment: all layers of given batches to .npy files, and
the bare forward pass beside it.

nnsight_capture.py FOLDER ROUNDS, where FOLDER has `model` and `batches.pt`; prints the least CPU
seconds of each.
"""

import json
import sys
import time
from importlib.metadata import version
from pathlib import Path

import nnsight
import numpy as np
import torch
from nnsight import NNsight
from transformers import Qwen2Model


def main() -> None:
    torch.set_num_threads(1)
    folder, rounds = Path(sys.argv[1]), int(sys.argv[2])
    model = Qwen2Model.from_pretrained(folder / "model", dtype=torch.float32).eval()
    batches = torch.load(folder / "batches.pt")
    wrapped, best = NNsight(model), {"bare": float("inf"), "nnsight": float("inf")}
    out = folder / "nnsight"
    out.mkdir()

    def bare() -> None:
        for ids, _ in batches:
            model(input_ids=ids, use_cache=False)

    def capture() -> None:
        for number, (ids, lengths) in enumerate(batches):
            with wrapped.trace(input_ids=ids, use_cache=False):
                states = nnsight.save([layer.output for layer in wrapped.layers])
            for layer, states_BTD in enumerate(states):
                kept = torch.cat([states_BTD[row, :length] for row, length in enumerate(lengths)])
                np.save(out / f"{number:04d}_{layer:02d}.npy", kept.half().numpy())

    with torch.no_grad():
        for number in range(rounds + 1):
            for name, run in (("bare", bare), ("nnsight", capture)):
                started = time.process_time()
                run()
                if number:
                    best[name] = min(best[name], time.process_time() - started)
    print(json.dumps({**best, "version": version("nnsight")}))


if __name__ == "__main__":
    main()
