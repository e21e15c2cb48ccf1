"""Users in several groups at once, as V2 understands a user. Each change is one unit of work.

V2 has no call that makes a group. A group need not exist: one that is missing counts as a group without the user.
"""

from __future__ import annotations

from collections.abc import Sequence

from service.errors import FaceExists, LastGroupOfUser, UserAlreadyInGroup, UserNotFound
from service.intake.controls import Controls
from service.intake.intake import Intake
from service.intake.seen import SeenFace
from service.library.groups import Published, group_in_scene, made_in_scene
from service.library.users import EnrolAction, Users, copy_user
from service.storage.engine import Database, Reader, UnitOfWork
from service.values import App, ImageSource, UserEntry

GroupIds = Sequence[str] | None
"""``None`` stands for every group of the user."""

Entries = list[UserEntry]
Keys = list[int]


class Memberships:
    """Enrolling, reading, copying and deleting users of several groups. All of a change happens, or nothing."""

    def __init__(self, users: Users, intake: Intake, database: Database, published: Published) -> None:
        self._users = users
        self._intake = intake
        self._database = database
        self._published = published

    def add(
        self,
        app: App,
        source: ImageSource,
        group_ids: Sequence[str],
        user_id: str,
        user_info: str | None,
        action: EnrolAction,
        controls: Controls,
    ) -> SeenFace:
        """Enrol the largest face of a picture in every group; groups and users come into being when missing.

        A group where the user has this very face already is passed over. Raises ``FaceExists`` when that is so in
        all of them, ``TooManyFaces``, ``GroupNotFound`` for a group of a scene, and what the intake raises.
        """
        face = self._intake.faces(app, source, embed=True, controls=controls)[0]

        def added(users: Users, work: UnitOfWork) -> None:
            count = 0
            groups = [made_in_scene(work, group_id, None) for group_id in group_ids]
            if action is not EnrolAction.APPEND:  # of all groups at once, before enrolling does it one by one
                work.faces.delete_of_users(*work.users.pks(groups, user_id))
            for group in groups:
                try:
                    users.enrol(work, group, user_id, user_info, action, face)
                except FaceExists:  # told before anything of this group was written
                    continue
                count += 1
            if not count:
                raise FaceExists

        self._users.written(app, face, added)
        return face

    def update(
        self,
        app: App,
        source: ImageSource,
        group_ids: GroupIds,
        user_id: str,
        user_info: str | None,
        controls: Controls,
    ) -> SeenFace:
        """Replace the user's faces in every group by the largest face of a picture.

        Raises ``UserNotFound`` unless the user is in each of the groups, and what the intake raises.
        """
        with self._database.read(app.pk) as reader:  # before the expensive part; looked at again below
            self._groups_of(reader, app, group_ids, user_id)
        face = self._intake.faces(app, source, embed=True, controls=controls)[0]

        def replaced(users: Users, work: UnitOfWork) -> None:
            groups = self._groups_of(work, app, group_ids, user_id)
            work.faces.delete_of_users(*work.users.pks(groups, user_id))
            for group in groups:
                users.enrol(work, group, user_id, user_info, EnrolAction.UPDATE, face)

        self._users.written(app, face, replaced)
        return face

    def get(self, app: App, group_ids: GroupIds, user_id: str) -> Entries:
        """The user as enrolled in those of the groups that have the user. Raises ``UserNotFound`` when none has."""
        with self._database.read(app.pk) as reader:
            return _entries(reader, app, group_ids, user_id)

    def delete(self, app: App, group_ids: GroupIds, user_id: str) -> None:
        """Delete the user from the groups with faces, embeddings and crops. Raises ``UserNotFound`` as ``get``."""
        with self._database.write(app.pk) as work:
            work.users.delete(*(entry.pk for entry in _entries(work, app, group_ids, user_id)))
        self._published(app.pk, work.seq)

    def copy(self, app: App, user_id: str, source_group_id: str, group_ids: Sequence[str]) -> None:
        """Copy a user with faces and info into groups, which come into being when they are missing.

        Raises ``GroupNotFound`` (the source is missing, or any of them is a scene's: who was enrolled for one kind of
        camera stays there), ``UserNotFound``, and ``UserAlreadyInGroup`` when each of the groups has the user already;
        one of several that has is passed over.
        """
        with self._database.write(app.pk) as work:
            user = work.users.pk(group_in_scene(work, app, source_group_id, None), user_id)
            if user is None:
                raise UserNotFound
            groups = [made_in_scene(work, group_id, None) for group_id in group_ids]
            missing = [group for group in groups if work.users.pk(group, user_id) is None]
            if not missing:
                raise UserAlreadyInGroup
            for group in missing:
                copy_user(work, user, group)
        self._published(app.pk, work.seq)

    def leave(self, app: App, user_id: str, group_ids: Sequence[str]) -> None:
        """Take a user out of groups. Raises ``UserNotFound`` as ``get``, ``LastGroupOfUser`` if none would be left."""
        with self._database.write(app.pk) as work:
            leaving = _entries(work, app, group_ids, user_id)
            if len(leaving) == len(work.users.entries(app.pk, user_id)):
                raise LastGroupOfUser
            work.users.delete(*(entry.pk for entry in leaving))
        self._published(app.pk, work.seq)

    def list(self, app: App, group_id: str, start: int, length: int) -> Entries:
        """Users of a group with their info, in order of enrolment; none when the group is not there."""
        with self._database.read(app.pk) as reader:
            group = reader.groups.pk(app.pk, group_id)
            return [] if group is None else reader.users.entries_in_group(group, start, length)

    @staticmethod
    def _groups_of(reader: Reader | UnitOfWork, app: App, group_ids: GroupIds, user_id: str) -> Keys:
        """Keys of the ordinary groups, each of which must have the user."""
        entries = reader.users.entries(app.pk, user_id)
        known = reader.groups.pks_in_scene(app.pk, [entry.group_id for entry in entries], None) if entries else {}
        if not known or not known.keys() >= set(group_ids or ()):
            raise UserNotFound
        return list(known.values()) if group_ids is None else [known[group_id] for group_id in group_ids]


def _entries(reader: Reader | UnitOfWork, app: App, group_ids: GroupIds, user_id: str) -> Entries:
    everywhere = reader.users.entries(app.pk, user_id)
    entries = everywhere if group_ids is None else [entry for entry in everywhere if entry.group_id in group_ids]
    if not entries:
        raise UserNotFound
    return entries
