"""The table of contents of rewardscope: one line per stage. `invoke --list` shows them, `invoke --help TASK` the flags."""

import importlib

from rewardscope.cli import stage_task

_STAGES = (
    "infer",
    "infer_with_prm",
    "metrics",
    "save_acts",
    "train_linreg",
    "train_sae",
    "feature_diff",
    "dash",
    "figures",
    "demo",
    "tiny",
)
for _name in _STAGES:
    try:
        _module = importlib.import_module(f"rewardscope.stages.{_name}")
    except ModuleNotFoundError:
        continue
    globals()[_name] = stage_task(_name.replace("_", "-"), _module.Config, _module.run)
