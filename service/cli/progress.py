"""Showing how far a fetch has come: a bar on a terminal, a line now and then anywhere else."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from models.progress import Progress
from service.cli.common import on_terminal

LINE_SECONDS = 10.0
"""Pause between two lines of one task in a log."""

MIB = 2**20


class ProgressLines:
    """A line when a task begins, every ten seconds, and when it is done."""

    def __init__(self) -> None:
        self._task = ""
        self._said_at = float("-inf")

    def update(self, task: str, done: int, total: int) -> None:
        """See :class:`models.progress.Progress`."""
        now = time.monotonic()
        if task == self._task and done < total and now - self._said_at < LINE_SECONDS:
            return
        self._task, self._said_at = task, now
        state = "fetched" if done >= total else "fetching"
        typer.echo(f"{state} {task}: {done / MIB:.1f} of {total / MIB:.1f} MiB", err=True)


@contextmanager
def shown_progress() -> Iterator[Progress]:
    """Something to hand to ``models.fetch.ensure``; a bar that was begun is closed at the end."""
    if not on_terminal():
        yield ProgressLines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TaskID, TextColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Bars(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as bars:
        tasks: dict[str, TaskID] = {}

        class ProgressBars:
            """One bar a task, made when the task begins: a start that fetches nothing shows none."""

            def update(self, task: str, done: int, total: int) -> None:
                if task not in tasks:
                    tasks[task] = bars.add_task(task, total=total)
                bars.update(tasks[task], completed=done, total=total)

        yield ProgressBars()
