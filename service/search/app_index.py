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
    """Changed by one thread at a time, the one that has the :meth:`turn`; searches never wait."""

    groups: Groups = field(default_factory=dict)
    position: int = NOT_LOADED
    mark: ChangeMark | None = None
    """The log's row at ``position``; ``None`` where the log did not have it any more."""
    left_out: int = 0
    """Faces that the last complete load left out because they could not be read."""
    begun: int = 0
    """Replays to the end of the log that have begun, failed ones not counted."""
    removals: int = 0
    """Counts the beginnings and ends of removals: odd while removals are being applied."""
    _moved: threading.Condition = field(default_factory=threading.Condition)
    _taken: bool = False

    @contextlib.contextmanager
    def turn(self, seq: int | None = None) -> Iterator[bool]:
        """Wait for the turn to change the indexes (``True``), or until other threads have brought them to ``seq``.

        Raises ``DeadlineExceeded`` for a request that has no time left. Another thread may be loading millions of
        faces; requests that waited for the end of that would occupy the threads that other apps need.
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
        """Whether searches see change ``seq``.

        ``None`` stands for the end of the log, which is never known: ``False``.
        """
        return seq is not None and self.position >= seq

    def apply(self, changes: Sequence[Change], new_index: NewIndex) -> None:
        """Apply the log's next rows, at least one. Only by the thread that has the turn."""
        apply_additions(self.groups, changes, new_index)  # may take seconds, if this thread has to seal a segment
        if any(change.kind is not ChangeKind.ADD_FACE for change in changes):
            self.removals += 1
            try:
                apply_removals(self.groups, changes)
            finally:
                self.removals += 1
        self.move(changes[-1].seq, changes[-1].mark)

    def is_settled(self, removals: int) -> bool:
        """Whether no removal was under way when the counter had the value ``removals``, and none has begun since."""
        return removals % 2 == 0 and self.removals == removals

    def move(self, position: int, mark: ChangeMark | None) -> None:
        """Note that everything up to ``position`` is applied, and wake who waits for it.

        Only by the one with the turn.
        """
        with self._moved:
            self.position, self.mark = position, mark
            self._moved.notify_all()
