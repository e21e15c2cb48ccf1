"""What callers think of the answers they got, kept for the operator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from service.storage.engine import Database
from service.storage.feedback import StoredFeedback
from service.values import App

ITEMS_KEPT = 10_000
"""Of each app; the oldest give way."""


class Feedback:
    """Storing feedback and reading it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def store(self, app: App, items: Sequence[Mapping[str, object]]) -> None:
        """Keep items; what can be written as JSON."""
        with self._database.admin(app.pk) as work:
            work.feedback.insert(app.pk, items, ITEMS_KEPT)

    def latest(self, app: App, limit: int) -> list[StoredFeedback]:
        """An app's feedback, newest first."""
        with self._database.read(app.pk) as reader:
            return reader.feedback.latest(app.pk, limit)
