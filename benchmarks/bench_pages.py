"""Pages of 4,096 features in one pass over the rows, against SAEDashboard on the same activations.

SAEDashboard makes the pages of 64 features, a batch for which it runs the model once, in an
environment of its own (one thread, CPU seconds). Costs are given a feature; ours have a forward
pass over the texts added to them, since they start from saved states. Features that never fire have
no page.
"""

import json
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.bench_rows import trace
from benchmarks.measure import keep_row
from rewardscope.paths import PROJECT
from rewardscope.sae.model.checkpoint import save_sae
from rewardscope.sae.model.inference import Sae
from rewardscope.settings import Settings
from rewardscope.stage import Stage, StageConfig
from rewardscope.stages import dash
from rewardscope.storage.acts import write_traces
from rewardscope.storage.shards import SHARD_ROWS, shard_file, write_shard

PEER = PROJECT / ".peers" / "saedashboard" / "bin" / "python"
WORKER = Path(__file__).parent / "peers" / "saedashboard_pages.py"
JOB = {
    "prompts": 256,
    "tokens": 130,  # a multiple of the steps of bench_rows.trace
    "layers": 8,
    "width": 256,
    "features": 4096,
    "k": 32,
    "shown": 64,  # a batch: it runs the model again for each
    "layer": 4,
}


def peer_pages(folder: Path) -> dict[str, float]:
    """Run SAEDashboard; it leaves the states and the weights in `folder`."""
    command = [str(PEER), str(WORKER), str(folder), json.dumps(JOB)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def write_inputs(folder: Path) -> Settings:
    """Write the peer's states as a folder of save-acts, and its SAE as a run."""
    states_ND = torch.from_numpy(np.load(folder / "states.npy"))
    stage = Stage("save-acts", StageConfig(), inputs={}, out=folder / "math-rm-random")
    with stage:
        rows = (trace(number, JOB["tokens"]) for number in range(JOB["prompts"]))
        files = list(write_traces(stage.work, rows))
        for index, acts_ND in enumerate(states_ND.split(SHARD_ROWS)):
            write_shard(shard_file(stage.work, index), {JOB["layer"]: [acts_ND]})
            files.append(shard_file(stage.work, index))
        extra = {"layers": [JOB["layer"]], "width": JOB["width"]}
        stage.finish(files, rows=len(states_ND), extra=extra)
    sae = Sae(
        W_enc_DF=torch.from_numpy(np.load(folder / "W_enc.npy")),
        b_enc_F=torch.zeros(JOB["features"]),
        W_dec_FD=torch.from_numpy(np.load(folder / "W_dec.npy")),
        b_dec_D=torch.zeros(JOB["width"]),
        k=JOB["k"],
        layer=JOB["layer"],
        info={},
    )
    run = Stage("train-sae", StageConfig(), inputs={}, out=folder / "run")
    with run:
        saved = save_sae(run.work / f"layer_{JOB['layer']:02d}", sae)
        run.finish(saved, rows=0, extra={"layers": [JOB["layer"]]})
    return Settings(data_dir=folder, sae_checkpoint_dir=folder)


def main() -> None:
    """Measure both and keep the row."""
    if not PEER.is_file():
        raise SystemExit("pages: run benchmarks/peers/make_saedashboard.sh first")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home)
        peer = peer_pages(folder)
        settings = write_inputs(folder)
        config = dash.Config(ds_names=("math-rm-random",), sae="run", top=JOB["features"])
        began = time.process_time()
        out = dash.run(config, settings)
        seconds = time.process_time() - began
        pieces = [*(out / f"layer_{JOB['layer']:02d}").glob("[0-9]*.js")]
        size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
        shown = sum(path.read_text().count('"hist":') for path in pieces)
    own, other = (seconds + peer["forward"]) / shown, peer["seconds"] / JOB["shown"]
    keep_row(
        "pages",
        {
            "what": "pages of SAE features, one thread",
            **{name: JOB[name] for name in ("features", "k", "layers", "width")},
            "tokens": JOB["prompts"] * JOB["tokens"],
            "shown": shown,
            "cpu_seconds": round(seconds, 1),
            "forward_cpu_seconds": round(peer["forward"], 1),
            "kib_a_feature": round(size / shown / 1024, 1),
            "saedashboard_shown": JOB["shown"],
            "saedashboard_cpu_seconds": round(peer["seconds"], 1),
            "saedashboard_kib_a_feature": round(peer["bytes"] / JOB["shown"] / 1024, 1),
            "times_faster_a_feature": round(other / own, 1),
        },
    )


if __name__ == "__main__":
    main()
