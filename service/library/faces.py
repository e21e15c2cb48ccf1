"""Single faces of an enrolled user."""

from __future__ import annotations

from service.errors import EnrolledFaceNotFound, GroupNotFound, UserNotFound
from service.library.groups import Published
from service.storage.engine import Database, Reader, UnitOfWork
from service.values import App, FaceEntry

FaceEntries = list[FaceEntry]


class Faces:
    """The ``faceset/face/*`` calls."""

    def __init__(self, database: Database, published: Published) -> None:
        self._database = database
        self._published = published

    def list(self, app: App, group_id: str, user_id: str) -> FaceEntries:
        """A user's faces in order of enrolment. Raises ``GroupNotFound``, ``UserNotFound``."""
        with self._database.read(app.pk) as reader:
            return reader.faces.entries(user_in_group(reader, app, group_id, user_id))

    def portrait(self, app: App, group_id: str, user_id: str, face_token: str) -> bytes | None:
        """The stored crop of a face as JPEG; ``None`` where none was kept.

        Raises ``GroupNotFound``, ``UserNotFound``, ``EnrolledFaceNotFound``.
        """
        with self._database.read(app.pk) as reader:
            face = reader.faces.pk_by_token(user_in_group(reader, app, group_id, user_id), face_token)
            if face is None:
                raise EnrolledFaceNotFound
            return reader.faces.portrait(face)

    def delete(self, app: App, group_id: str, user_id: str, face_token: str) -> None:
        """Delete one face with its embedding and crop; with the last face goes the user.

        Raises ``GroupNotFound``, ``UserNotFound``, ``EnrolledFaceNotFound``.
        """
        with self._database.write(app.pk) as work:
            user = user_in_group(work, app, group_id, user_id)
            face = work.faces.pk_by_token(user, face_token)
            if face is None:
                raise EnrolledFaceNotFound
            if work.faces.count(user) == 1:
                work.users.delete(user)
            else:
                work.faces.delete(face)
        self._published(app.pk, work.seq)


def user_in_group(reader: Reader | UnitOfWork, app: App, group_id: str, user_id: str) -> int:
    """The user's key. Raises ``GroupNotFound``, ``UserNotFound``."""
    group = reader.groups.pk(app.pk, group_id)
    if group is None:
        raise GroupNotFound
    user = reader.users.pk(group, user_id)
    if user is None:
        raise UserNotFound
    return user
