"""The indexes of one app: how far they have come in its change log, and whose turn it is to change them."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from service import deadline
from service.errors import DeadlineExceeded
from service.search.protocol import NOT_LOADED
from service.search.replay import Groups, NewIndex, apply_additions, apply_removals
from service.values import Change, ChangeKind, ChangeMark


@dataclass(slots=True, eq=False)
class AppIndex:
    """Changed by one thread at a time, whose :meth:`turn` it is; searches wait for nobody."""

    groups: Groups = field(default_factory=dict)
    position: int = NOT_LOADED
    mark: ChangeMark | None = None
    """The change at ``position``; ``None`` when the log did not have it."""
    left_out: int = 0
    """Faces of the database that were left out when everything was read, because they cannot be read."""
    begun: int = 0
    """How many replays to the end of the log have begun and did not fail."""
    removals: int = 0
    """Grows when removals begin to be applied, and again when they have been: odd in between."""
    _moved: threading.Condition = field(default_factory=threading.Condition)
    _taken: bool = False

    @contextlib.contextmanager
    def turn(self, seq: int | None = None) -> Iterator[bool]:
        """Wait for the turn to change the indexes, or (``False``) until others have brought them to ``seq``.

        Raises ``DeadlineExceeded`` for a request that has no time left: others may be loading millions of faces, and
        whoever waited for that to the end would keep a thread from all other apps.
        """
        with self._moved:
            if not self._moved.wait_for(lambda: not self._taken or self.reached(seq), deadline.left_to_wait()):
                raise DeadlineExceeded("the index was not brought up to date in time")
            ours = not self.reached(seq)
            if ours:
                self._taken = True
        try:
            yield ours
        finally:
            if ours:
                with self._moved:
                    self._taken = False
                    self._moved.notify_all()

    def reached(self, seq: int | None) -> bool:
        """Whether searches see the change ``seq``; no position is known to be the end of the log (``None``)."""
        return seq is not None and self.position >= seq

    def apply(self, changes: Sequence[Change], new_index: NewIndex) -> None:
        """Apply rows of the log, at least one, that follow those there are. In one's turn only."""
        apply_additions(self.groups, changes, new_index)  # for seconds, where there is sealing to help with
        if any(change.kind is not ChangeKind.ADD_FACE for change in changes):
            self.removals += 1
            try:
                apply_removals(self.groups, changes)
            finally:
                self.removals += 1
        self.move(changes[-1].seq, changes[-1].mark)

    def is_settled(self, removals: int) -> bool:
        """Whether no face has been removed since ``removals`` was what it was."""
        return removals % 2 == 0 and self.removals == removals

    def move(self, position: int, mark: ChangeMark | None) -> None:
        """Everything up to ``position`` is there: whoever waits for less goes on at once. In one's turn only."""
        with self._moved:
            self.position, self.mark = position, mark
            self._moved.notify_all()
