"""How far a long piece of work has come: a bar with rate and time left, or a line now and then where nobody watches."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer

from service.cli.common import on_terminal
from service.cli.progress import LINE_SECONDS

Advance = Callable[[str], None]
"""Called after each piece, with a remark to show beside the count, or an empty one."""


class CountingLines:
    """A line every ten seconds, and one at the end."""

    def __init__(self, what: str, total: int) -> None:
        self._what = what
        self._total = total
        self._done = 0
        self._begun = self._said_at = time.monotonic()

    def advance(self, remark: str) -> None:
        """One more is done."""
        self._done += 1
        now = time.monotonic()
        if self._done < self._total and now - self._said_at < LINE_SECONDS:
            return
        self._said_at = now
        rate = self._done / max(now - self._begun, 1e-9)
        left = time.strftime("%H:%M:%S", time.gmtime((self._total - self._done) / rate))
        told = f"{self._done} of {self._total} {self._what}, {rate:.1f} a second, {left} left"
        typer.echo(f"{told}, {remark}" if remark else told, err=True)


@contextmanager
def counted(what: str, total: int) -> Iterator[Advance]:
    """Something to call after each of ``total`` pieces."""
    if not on_terminal():
        yield CountingLines(what, total).advance
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        *(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()),
        *(
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[remark]}"),
        ),
    )
    with Progress(*columns, console=Console(stderr=True), refresh_per_second=4) as bars:
        task = bars.add_task(what, total=total, rate="", remark="")

        def advance(remark: str) -> None:
            speed = bars.tasks[0].finished_speed or bars.tasks[0].speed
            bars.update(task, advance=1, rate=f"{speed:.1f}/s" if speed else "", remark=remark)

        yield advance
