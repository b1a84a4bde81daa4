"""The command `rewardscope`: every stage as a task, with or without a checkout."""

from rewardscope.stopping import exit_at_once


def main() -> None:
    exit_at_once()
    from importlib.metadata import PackageNotFoundError, version

    from invoke.collection import Collection

    from rewardscope.cli import Program, add_tasks
    from rewardscope.stages.table import STAGES

    try:
        release = version("rewardscope")
    except PackageNotFoundError:
        release = "unknown"
    Program(
        version=release,
        namespace=add_tasks(Collection(), STAGES),
        name="rewardscope",
        binary="rewardscope",
    ).run()


if __name__ == "__main__":
    main()
