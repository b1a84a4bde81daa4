"""The command line: tasks made from stage configs, flags, help, and one-line errors.

Plain invoke rejects `--model_name`, shows a traceback for a bad integer and sorts flags by letter.
The program `rewardscope` does not; `install` teaches the command `invoke` the same.
"""

from rewardscope.cli.parsing import Program, install
from rewardscope.cli.tasks import add_tasks, shell_task, stage_task

__all__ = ["Program", "add_tasks", "install", "shell_task", "stage_task"]
