"""How far a fetch has come, told to whoever wants to show it."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Shows progress; called from the fetching thread, several times a second at most."""

    def update(self, task: str, done: int, total: int) -> None:
        """``task`` (a short text, the same for all calls of one task) has done ``done`` of ``total`` bytes.

        A task begins with its first call and is over when ``done`` equals ``total``; tasks do not overlap. Package
        managers do not tell how far they are, so ``done`` is an estimate until then.
        """


class Silence:
    """Shows nothing."""

    def update(self, task: str, done: int, total: int) -> None:
        """Nobody listens."""
