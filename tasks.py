"""The table of contents of rewardscope.

`invoke --list` shows the tasks, `invoke --help TASK` the flags of one.
"""

from invoke.collection import Collection

from rewardscope.cli import shell_task, stage_task
from rewardscope.stages import (
    dash,
    demo,
    export_sae,
    feature_diff,
    figures,
    import_traces,
    infer,
    infer_with_prm,
    metrics,
    prm_bench,
    probe_predict,
    probe_transfer,
    reward_patterns,
    sae_quality,
    save_acts,
    tiny,
    train_linreg,
    train_sae,
)

namespace = Collection()
namespace.add_task(stage_task("demo", demo.Config, demo.run))
namespace.add_task(stage_task("infer", infer.Config, infer.run))
namespace.add_task(stage_task("infer-with-prm", infer_with_prm.Config, infer_with_prm.run))
namespace.add_task(stage_task("import-traces", import_traces.Config, import_traces.run))
namespace.add_task(stage_task("metrics", metrics.Config, metrics.run))
namespace.add_task(stage_task("prm-bench", prm_bench.Config, prm_bench.run))
namespace.add_task(stage_task("save-acts", save_acts.Config, save_acts.run))
namespace.add_task(stage_task("train-linreg", train_linreg.Config, train_linreg.run))
namespace.add_task(stage_task("probe-predict", probe_predict.Config, probe_predict.run))
namespace.add_task(stage_task("probe-transfer", probe_transfer.Config, probe_transfer.run))
namespace.add_task(stage_task("reward-patterns", reward_patterns.Config, reward_patterns.run))
namespace.add_task(stage_task("train-sae", train_sae.Config, train_sae.run))
namespace.add_task(stage_task("sae-quality", sae_quality.Config, sae_quality.run))
namespace.add_task(stage_task("export-sae", export_sae.Config, export_sae.run))
namespace.add_task(stage_task("feature-diff", feature_diff.Config, feature_diff.run))
namespace.add_task(stage_task("dash", dash.Config, dash.run))
namespace.add_task(stage_task("figures", figures.Config, figures.run))
namespace.add_task(stage_task("tiny", tiny.Config, tiny.run))
# A file of tests stays with one process, so that what its tests share is made once; the files with
# the longest tests come first.
workers = "-n auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder"
test = f"pytest tests --ignore tests/notebook {workers}"
namespace.add_task(shell_task("test", "Run the tests, on every core.", test))

dev = Collection("dev")
dev.add_task(
    shell_task(
        "check",
        "Check style and types: ruff and pyright.",
        "ruff check .",
        "ruff format --check .",
        "pyright",
    )
)
dev.add_task(
    shell_task(
        "bench", "Run the benchmarks; rows go to benchmarks/results/.", "python -m benchmarks"
    )
)
namespace.add_collection(dev)
