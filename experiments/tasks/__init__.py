"""What a run learns: how a batch becomes a loss, and an evaluation a table.

For a task of your own: `from experiments.tasks import Figure, register_task`, and
`from experiments.tasks.base import Task`.
"""

from experiments.tasks.rows import Figure, register_task

__all__ = ["Figure", "register_task"]
