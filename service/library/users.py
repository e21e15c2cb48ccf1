"""Users of a group: enrol, update, read, copy, delete."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import replace

from service.errors import (
    DestinationGroupNotFound,
    FaceExists,
    ModelChanged,
    TooManyFaces,
    UserAlreadyInGroup,
    UserNotFound,
)
from service.intake.controls import Controls
from service.intake.intake import Intake, nowhere
from service.intake.seen import SeenFace
from service.library.faces import user_in_group
from service.library.groups import Published, group_in_scene, made_in_scene
from service.storage.engine import Database, Reader, UnitOfWork
from service.values import App, ImageSource, UserEntry

MAX_FACES_PER_USER = 20
"""Of the API's documents."""

ALL_GROUPS = "@ALL"
"""Stands for every group of a user, in ``get`` and ``delete``."""


class EnrolAction(str, enum.Enum):
    """What happens to the faces that a user has already (the API's ``action_type``)."""

    APPEND = "APPEND"
    REPLACE = "REPLACE"
    UPDATE = "UPDATE"


class Users:
    """The ``faceset/user/*`` calls."""

    def __init__(
        self,
        intake: Intake,
        database: Database,
        published: Published,
        *,
        keep_crops: bool,
        by_model: Callable[[str], Users | None] = nowhere,
    ) -> None:
        """``by_model`` finds the ``Users`` of another model that the library has moved to, where that is loaded."""
        self._by_model = by_model
        self._intake = intake
        self._database = database
        self._published = published
        self._keep_crops = keep_crops

    def add(
        self,
        app: App,
        source: ImageSource,
        group_id: str,
        user_id: str,
        user_info: str | None,
        action: EnrolAction,
        controls: Controls,
        scene: str | None = None,
    ) -> SeenFace:
        """Enrol the largest face of a picture; group and user come into being when they are missing.

        Raises ``FaceExists`` when the user has this very face in this group, ``TooManyFaces`` above
        ``MAX_FACES_PER_USER``, ``GroupNotFound`` for a group of another scene, and what the intake raises.
        """
        face = self._intake.faces(app, source, embed=True, controls=controls)[0]

        def enrolled(users: Users, work: UnitOfWork) -> None:
            users.enrol(work, made_in_scene(work, group_id, scene), user_id, user_info, action, face)

        self.written(app, face, enrolled)
        return face

    def written(self, app: App, face: SeenFace, work_on: Callable[[Users, UnitOfWork], None]) -> None:
        """Do something with a face in one unit of work, by the model that the library is in by then.

        Raises ``ModelChanged`` when that is not loaded here, and what ``work_on`` raises.
        """
        _ = self._intake.embedding(face), face.stored  # outside of the transaction
        try:
            with self._database.write(app.pk) as work:
                work_on(self, work)
        except ModelChanged as changed:
            moved = self._by_model(changed.model_id)
            if moved is None or moved is self:
                raise
            moved.written(app, face, work_on)
        else:
            self._published(app.pk, work.seq)

    def enrol(
        self, work: UnitOfWork, group: int, user_id: str, user_info: str | None, action: EnrolAction, face: SeenFace
    ) -> None:
        """Give a user of a group a face that has been embedded; the part of ``add`` that writes.

        Raises ``FaceExists``, ``TooManyFaces``, ``ModelChanged``.
        """
        user = work.users.pk(group, user_id)
        if user is None:
            user = work.users.insert(group, user_id, user_info or "")
        else:
            if action is not EnrolAction.APPEND:
                work.faces.delete_of_users(user)
            elif work.faces.exists(user, face.token):
                raise FaceExists
            elif work.faces.count(user) >= MAX_FACES_PER_USER:
                raise TooManyFaces
            if user_info is not None:
                work.users.set_info(user, user_info)
        stored = face.stored if self._keep_crops else replace(face.stored, portrait=None)
        work.faces.insert(user, stored, self._intake.model_id, self._intake.embedding(face))

    def update(
        self,
        app: App,
        source: ImageSource,
        group_id: str,
        user_id: str,
        user_info: str | None,
        controls: Controls,
        scene: str | None = None,
    ) -> SeenFace:
        """Replace all faces of an enrolled user by the largest face of a picture.

        Raises ``GroupNotFound``, ``UserNotFound``, and what the intake raises.
        """
        with self._database.read(app.pk) as reader:  # before the expensive part; looked at again below
            _enrolled(reader, app, group_id, user_id, scene)
        face = self._intake.faces(app, source, embed=True, controls=controls)[0]

        def replaced(users: Users, work: UnitOfWork) -> None:
            group = _enrolled(work, app, group_id, user_id, scene)
            users.enrol(work, group, user_id, user_info, EnrolAction.UPDATE, face)

        self.written(app, face, replaced)
        return face

    def get(self, app: App, group_id: str, user_id: str) -> list[UserEntry]:
        """The user as enrolled in a group, or with ``ALL_GROUPS`` in each.

        Raises ``GroupNotFound``, ``UserNotFound``.
        """
        with self._database.read(app.pk) as reader:
            if group_id == ALL_GROUPS:
                entries = reader.users.entries(app.pk, user_id)
            else:
                pk = user_in_group(reader, app, group_id, user_id)
                entries = list(reader.users.entries_by_pk([pk]).values())
        if not entries:
            raise UserNotFound
        return entries

    def copy(self, app: App, user_id: str, source_group_id: str, destination_group_id: str) -> None:
        """Copy a user with faces and info into another group of the same scene.

        Raises ``GroupNotFound`` (source), ``DestinationGroupNotFound``, ``UserNotFound``, ``UserAlreadyInGroup``.
        """
        with self._database.write(app.pk) as work:
            user = user_in_group(work, app, source_group_id, user_id)
            scene = work.groups.scene(work.groups.pks(app.pk, [source_group_id])[source_group_id])
            destination = work.groups.pks_in_scene(app.pk, [destination_group_id], scene).get(destination_group_id)
            if destination is None:
                raise DestinationGroupNotFound
            if work.users.pk(destination, user_id) is not None:
                raise UserAlreadyInGroup
            copy_user(work, user, destination)
        self._published(app.pk, work.seq)

    def delete(self, app: App, group_id: str, user_id: str) -> None:
        """Delete a user with faces, embeddings and crops from a group, or with ``ALL_GROUPS`` from each.

        Raises ``GroupNotFound``, ``UserNotFound``.
        """
        with self._database.write(app.pk) as work:
            if group_id == ALL_GROUPS:
                users = [entry.pk for entry in work.users.entries(app.pk, user_id)]
            else:
                users = [user_in_group(work, app, group_id, user_id)]
            if not users:
                raise UserNotFound
            work.users.delete(*users)
        self._published(app.pk, work.seq)


def copy_user(work: UnitOfWork, user: int, destination: int) -> None:
    """Copy a user with faces and info into a group that has no user of this name."""
    entry = work.users.entries_by_pk([user])[user]
    work.faces.copy(user, work.users.insert(destination, entry.user_id, entry.user_info))


def _enrolled(reader: Reader | UnitOfWork, app: App, group_id: str, user_id: str, scene: str | None) -> int:
    """The key of the group that has the user. Raises ``GroupNotFound``, ``UserNotFound``."""
    group = group_in_scene(reader, app, group_id, scene)
    if reader.users.pk(group, user_id) is None:
        raise UserNotFound
    return group
