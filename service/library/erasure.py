"""Erasing people, groups and apps beyond what the API's deletions reach, with a receipt in the audit log."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Protocol

from service import auditing
from service.auditing import Operation
from service.errors import AppUnavailable, GroupNotFound, ServiceUnavailable, UserNotFound
from service.storage.audit import AuditEntry
from service.storage.engine import Database, UnitOfWork
from service.values import App


class Copies(Protocol):
    """A place outside the database where embeddings of an app lie, such as snapshots of its index on a disk."""

    def erase(self, app_pk: int) -> int:
        """Delete what is there of an app; returns how many things that were. It will be made anew when needed.

        Called twice: before the transaction ends, so that the receipt can count, and after it has ended, since a copy
        may have been written in between.
        """
        ...


class Journals(Protocol):
    """Notes outside the database of which picture gave which face of an app, such as those of imports."""

    def forget(self, app_id: str, enrolled: Callable[[Sequence[str]], Collection[str]]) -> int:
        """Delete the notes that are not of a face which ``enrolled`` gives back; returns how many those were."""
        ...


@dataclass(frozen=True, slots=True)
class Receipt:
    """What was erased, when and by whom, and where the audit log says so; ``hash`` is that entry's.

    ``position``: ``chain:seq`` of the entry, empty where no audit log is written. ``unfinished``: what failed after the
    transaction had ended; repeating the erasure does it.
    """

    what: str
    when: datetime
    actor: str
    counts: Mapping[str, int]
    position: str
    hash: str
    unfinished: str = ""


@dataclass(frozen=True, slots=True)
class AlsoErased:
    """What else of the app to erase. Nobody can tell whose these data are, so all of the app's are erased or none."""

    remembered: bool = False
    """Faces that were detected and not enrolled (``face_token_ttl``)."""
    uploads: bool = False
    captures: bool = False
    feedback: bool = False


_NOT_LOOKED_THROUGH = "notes of imports could not be looked through ({})"


class Erasure:
    """Erases in one transaction each, with its entry in the audit log. Servers learn of it as of any deletion."""

    def __init__(self, database: Database, copies: Sequence[Copies] = (), journals: Journals | None = None) -> None:
        self._database = database
        self._copies = copies
        self._journals = journals

    def user(
        self,
        app: App,
        user_id: str,
        group_id: str | None = None,
        also: AlsoErased | None = None,
        *,
        gone: bool = False,
    ) -> Receipt:
        """Erase a user from one group or all, and feedback that names the user, also of a user deleted through the API.

        Raises ``UserNotFound``, and erases nothing, where nothing of the user's own is left; with ``gone`` it then
        erases what else was asked for.
        """
        with self._named("erase.user", app, [] if group_id is None else [group_id], [user_id]), self._made_up(app):
            with self._database.write(app.pk) as work:
                known = work.users.entries(app.pk, user_id)
                entries = [entry for entry in known if group_id in (None, entry.group_id)]
                counts = {"users": len(entries), **work.erasing.faces(app.pk, [entry.pk for entry in entries])}
                work.users.delete(*(entry.pk for entry in entries))
                if len(entries) == len(known):
                    counts["feedback"] = work.erasing.feedback_naming(app.pk, user_id)
                if not (gone or any(counts.values())):
                    where = f"app {app.app_id}" if group_id is None else f"group {group_id} of app {app.app_id}"
                    raise UserNotFound(f"nothing is known of a user {user_id} in {where}")
                self._asked(work, app, counts, also)
                self._finish(work, app, counts)
            unfinished = self._afterwards(app, counts)
            return self._receipt(f"user {user_id} of app {app.app_id}", counts, work.audited, unfinished)

    def group(self, app: App, group_id: str, also: AlsoErased | None = None) -> Receipt:
        """A group with its users. Raises ``GroupNotFound``."""
        with self._named("erase.group", app, [group_id], []), self._made_up(app):
            with self._database.write(app.pk) as work:
                group = work.groups.pk(app.pk, group_id)
                if group is None:
                    raise GroupNotFound(f"there is no group {group_id} in app {app.app_id}")
                counts = {"groups": 1, **work.erasing.faces_of_group(app.pk, group)}
                counts["feedback"] = work.erasing.feedback_naming_members(app.pk, group)
                work.groups.delete(group)
                self._asked(work, app, counts, also)
                self._finish(work, app, counts)
            unfinished = self._afterwards(app, counts)
            return self._receipt(f"group {group_id} of app {app.app_id}", counts, work.audited, unfinished)

    def app(self, app: App) -> Receipt:
        """An app with everything that is its own; its number and its tokens never live again.

        Raises ``AppUnavailable`` when it is gone already.
        """
        with self._named("erase.app", app, [], []):
            with self._database.admin() as work:
                if work.apps.by_app_id(app.app_id) is None:
                    raise AppUnavailable(app.app_id)
                counts = work.erasing.everything(app.pk)
                work.apps.delete(app.pk)
                counts.update(self._elsewhere(app) | self._noted(app, lambda _: ()))
                entry = work.audit.record(None, {"app_id": app.app_id, **counts})
            self._elsewhere(app)
            return self._receipt(f"app {app.app_id}", counts, entry)

    @staticmethod
    def _asked(work: UnitOfWork, app: App, counts: dict[str, int], also: AlsoErased | None) -> None:
        """The rest of what was asked for."""
        asked = also or AlsoErased()
        erasing = work.erasing
        for wanted, name, erase in (
            (asked.remembered, "all_face_tokens", erasing.remembered),
            (asked.uploads, "uploads", erasing.uploads),
            (asked.captures, "capture_devices", erasing.captures),
            (asked.feedback, "all_feedback", erasing.feedback),
        ):
            if wanted:
                counts[name] = erase(app.pk)

    def _finish(self, work: UnitOfWork, app: App, counts: dict[str, int]) -> None:
        """Erase, within the transaction, what is quick to erase outside the database; counts go to the log."""
        counts.update(self._elsewhere(app))
        work.detail = dict(counts)

    def _afterwards(self, app: App, counts: dict[str, int]) -> str:
        """Erase the rest outside the database after the transaction, when no writer waits; counted in the receipt only.

        Returns what failed, instead of raising: what has been erased needs its receipt all the same.
        """
        self._elsewhere(app)
        try:
            counts.update(self._unenrolled(app))
        except (OSError, ServiceUnavailable) as error:
            return _NOT_LOOKED_THROUGH.format(error)
        return ""

    @contextlib.contextmanager
    def _made_up(self, app: App) -> Iterator[None]:
        """If what is to be erased is gone, clean up the notes of imports: an earlier erasure may have failed there."""
        try:
            yield
        except (UserNotFound, GroupNotFound):
            try:
                self._unenrolled(app)
            except OSError as error:
                raise ServiceUnavailable(_NOT_LOOKED_THROUGH.format(error)) from None
            raise

    def _unenrolled(self, app: App) -> dict[str, int]:
        return self._noted(app, lambda tokens: self._enrolled(app, tokens))

    def _enrolled(self, app: App, tokens: Sequence[str]) -> Collection[str]:
        with self._database.read(app.pk) as reader:
            return reader.faces.enrolled(app.pk, tokens)

    def _elsewhere(self, app: App) -> dict[str, int]:
        return {"copies": sum(place.erase(app.pk) for place in self._copies)} if self._copies else {}

    def _noted(self, app: App, enrolled: Callable[[Sequence[str]], Collection[str]]) -> dict[str, int]:
        return {"import_notes": self._journals.forget(app.app_id, enrolled)} if self._journals is not None else {}

    @staticmethod
    def _named(
        call: str, app: App, groups: Iterable[str], users: Iterable[str]
    ) -> contextlib.AbstractContextManager[Operation]:
        actor = auditing.current().actor
        return auditing.operation(Operation(actor, call, app.pk, tuple(groups), tuple(users)))

    @staticmethod
    def _receipt(what: str, counts: Mapping[str, int], entry: AuditEntry | None, unfinished: str = "") -> Receipt:
        if entry is None:
            return Receipt(what, datetime.now(timezone.utc), auditing.current().actor, counts, "", "", unfinished)
        draft, position = entry.draft, f"{entry.chain}:{entry.seq}"
        return Receipt(what, draft.time, draft.actor, counts, position, entry.hash.hex(), unfinished)
