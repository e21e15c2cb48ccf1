"""Counts the failed log-ins of all processes in the database. While that is away, each process counts for itself."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import timedelta

from service.errors import ServiceUnavailable
from service.storage.engine import Database

logger = logging.getLogger(__name__)


class SharedFailures:
    """What ``service.access.failures`` counts with. Thread-safe; raises nothing when the database is away."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def count(self, names: Sequence[bytes], window_seconds: float) -> Mapping[bytes, tuple[int, float]]:
        """One failure more of each name: how many all processes have counted, and the seconds left."""
        try:
            with self._database.attempts() as writer:
                return writer.count(names, timedelta(seconds=window_seconds))
        except ServiceUnavailable as error:
            logger.warning("failed log-ins are counted by this process alone: %s", error)
            return {}

    def forget(self, name: bytes) -> None:
        """Forget the failures of a name."""
        try:
            with self._database.attempts() as writer:
                writer.forget(name)
        except ServiceUnavailable as error:
            logger.warning("failed log-ins are forgotten by this process alone: %s", error)

    def remember(self, name: bytes, seconds: float) -> None:
        """Keep a name for so long."""
        try:
            with self._database.attempts() as writer:
                writer.remember(name, timedelta(seconds=seconds))
        except ServiceUnavailable as error:
            logger.warning("who has logged in is remembered by this process alone: %s", error)

    def remembers(self, name: bytes) -> bool:
        """Whether a name is kept."""
        try:
            with self._database.attempts() as writer:
                return writer.remembers(name)
        except ServiceUnavailable as error:
            logger.warning("who has logged in elsewhere cannot be told: %s", error)
            return False
