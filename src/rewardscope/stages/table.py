"""The table of stages: the name of each task, its config, and what it runs.

A name such as `lens.trace` is a task of a sub-collection.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from rewardscope.settings import Settings
from rewardscope.stage import StageConfig
from rewardscope.stages import (
    dash,
    demo,
    export_sae,
    feature_ablate,
    feature_diff,
    feature_label,
    figures,
    import_traces,
    infer,
    infer_with_prm,
    inject,
    metrics,
    perturb,
    prm_bench,
    probe_predict,
    probe_transfer,
    reward_patterns,
    sae_bench,
    sae_quality,
    save_acts,
    tiny,
    train_linreg,
    train_sae,
    verify,
)


class StageEntry(NamedTuple):
    """A row of the table."""

    config_class: type[StageConfig]
    run: Callable[[Any, Settings], Any]


STAGES: dict[str, StageEntry] = {
    "demo": StageEntry(demo.Config, demo.run),
    "infer": StageEntry(infer.Config, infer.run),
    "infer-with-prm": StageEntry(infer_with_prm.Config, infer_with_prm.run),
    "import-traces": StageEntry(import_traces.Config, import_traces.run),
    "metrics": StageEntry(metrics.Config, metrics.run),
    "prm-bench": StageEntry(prm_bench.Config, prm_bench.run),
    "perturb": StageEntry(perturb.Config, perturb.run),
    "save-acts": StageEntry(save_acts.Config, save_acts.run),
    "train-linreg": StageEntry(train_linreg.Config, train_linreg.run),
    "probe-predict": StageEntry(probe_predict.Config, probe_predict.run),
    "probe-transfer": StageEntry(probe_transfer.Config, probe_transfer.run),
    "reward-patterns": StageEntry(reward_patterns.Config, reward_patterns.run),
    "train-sae": StageEntry(train_sae.Config, train_sae.run),
    "sae-quality": StageEntry(sae_quality.Config, sae_quality.run),
    "sae-bench": StageEntry(sae_bench.Config, sae_bench.run),
    "export-sae": StageEntry(export_sae.Config, export_sae.run),
    "feature-diff": StageEntry(feature_diff.Config, feature_diff.run),
    "feature-label": StageEntry(feature_label.Config, feature_label.run),
    "inject": StageEntry(inject.Config, inject.run),
    "feature-ablate": StageEntry(feature_ablate.Config, feature_ablate.run),
    "dash": StageEntry(dash.Config, dash.run),
    "figures": StageEntry(figures.Config, figures.run),
    "verify": StageEntry(verify.Config, verify.run),
    "tiny": StageEntry(tiny.Config, tiny.run),
}
