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
    """A line every ten seconds, and one at the end. The total grows where more has come up meanwhile."""

    def __init__(self, what: str, total: int) -> None:
        self._what = what
        self._total = total
        self._done = self._told = 0
        self._remark = ""
        self._begun = self._said_at = time.monotonic()

    def advance(self, remark: str) -> None:
        """One more is done."""
        self._done += 1
        self._total = max(self._total, self._done)
        self._remark = remark
        if time.monotonic() - self._said_at >= LINE_SECONDS:
            self._say()

    def end(self) -> None:
        """All is done, however much was counted at first."""
        self._total = self._done
        if self._told < self._done:
            self._say()

    def _say(self) -> None:
        self._said_at = time.monotonic()
        self._told = self._done
        rate = self._done / max(self._said_at - self._begun, 1e-9)
        minutes, seconds = divmod(int((self._total - self._done) / rate), 60)
        left = f"{minutes // 60:02}:{minutes % 60:02}:{seconds:02}"
        told = f"{self._done} of {self._total} {self._what}, {rate:.1f} a second, {left} left"
        typer.echo(f"{told}, {self._remark}" if self._remark else told, err=True)


@contextmanager
def counted(what: str, total: int) -> Iterator[Advance]:
    """Something to call after each of ``total`` pieces, or more."""
    if not on_terminal():
        lines = CountingLines(what, total)
        yield lines.advance
        lines.end()
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
            shown = bars.tasks[0]
            speed = shown.finished_speed or shown.speed
            most = max(total, int(shown.completed) + 1)
            bars.update(task, advance=1, total=most, rate=f"{speed:.1f}/s" if speed else "", remark=remark)

        yield advance
