"""The table of contents of rewardscope.

`invoke --list` shows the tasks, `invoke --help TASK` the flags of one. The tasks of the pipeline
stand in `rewardscope.stages.table`; the command `rewardscope` has them without a checkout.
"""

from invoke.collection import Collection

from rewardscope.stopping import exit_at_once

# A file of tests stays with one process, so that what its tests share is made once; the files with
# the longest tests come first.
WORKERS = "-n auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder"
TEST = f"pytest tests --ignore tests/notebook {WORKERS}"


def _all_tasks() -> Collection:
    from rewardscope.cli import add_tasks, install, shell_task
    from rewardscope.stages.table import STAGES

    install()
    tasks = add_tasks(Collection(), STAGES)
    real = {"real": "also those with a real model, which is fetched, on real traces (tests/real)"}
    tasks.add_task(shell_task("test", "Run the tests, on every core.", TEST, switches=real))
    dev = Collection("dev")
    check = ("ruff check .", "ruff format --check .", "pyright")
    dev.add_task(shell_task("check", "Check style and types: ruff and pyright.", *check))
    bench = "Run the benchmarks; rows go to benchmarks/results/."
    dev.add_task(shell_task("bench", bench, "python -m benchmarks"))
    tasks.add_collection(dev)
    return tasks


exit_at_once()
namespace = _all_tasks()
