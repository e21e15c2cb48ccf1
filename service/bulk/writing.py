"""The part of bulk work that writes: many faces of many users in one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from service.bulk.outcomes import Outcome, Result
from service.errors import GroupNotFound
from service.library.groups import made_in_scene
from service.library.users import MAX_FACES_PER_USER
from service.storage.engine import Database, UnitOfWork
from service.storage.faces import NewFace
from service.values import Embedding, StoredFace

BATCH_FACES = 64
"""Faces of one transaction: what an interruption loses at most, and for how long other writers of the app may wait."""


@dataclass(frozen=True, slots=True, eq=False)
class ReadyFace:
    """A face that can be written; ``result`` says whose it is and what the report will say.

    ``user_info`` replaces what the user has; ``None`` leaves it.
    """

    result: Result
    user_info: str | None
    face: StoredFace
    embedding: Embedding
    scene: str | None = None


@dataclass(frozen=True, slots=True)
class ReadyUser:
    """A user, or with ``user_id`` empty a group alone, that is to exist whether faces come or not.

    ``user_info`` is that of a user who is made; one who is there keeps what was written here since, unless ``renewed``.
    """

    group_id: str
    user_id: str = ""
    user_info: str | None = None
    scene: str | None = None
    renewed: bool = False


class Writer:
    """Writes into one app's library; used by one thread."""

    def __init__(self, database: Database, app_pk: int, model_id: str) -> None:
        self._database = database
        self._app_pk = app_pk
        self._model_id = model_id
        self.touched: set[int] = set()
        """Numbers of the users that were given faces."""
        self.foreign: set[str] = set()
        """Groups that were not written, for they belong to another scene here."""

    def write(self, faces: Sequence[ReadyFace], users: Sequence[ReadyUser] = ()) -> list[Result]:
        """What became of each face; everything is committed when this returns, and nothing when it raises.

        A face that its user has, or that would be one too many, is not written; neither is one for a group that
        belongs to another scene. Raises ``ServiceUnavailable``.
        """
        if not faces and not users:
            return []
        results: dict[int, Result] = {}
        new: list[NewFace] = []
        with self._database.write(self._app_pk) as work:
            for group_id, (own, members) in _by_group(faces, users).items():
                results |= self._write_group(work, group_id, own, members, new)
        self.touched.update(face.user_pk for face in new)
        return [results.get(id(face), face.result) for face in faces]

    def _write_group(
        self,
        work: UnitOfWork,
        group_id: str,
        users: Sequence[ReadyUser],
        members: Sequence[ReadyFace],
        new: list[NewFace],
    ) -> dict[int, Result]:
        scene = next(iter([user.scene for user in users] + [face.scene for face in members]))
        try:
            group = made_in_scene(work, group_id, scene)
        except GroupNotFound:
            self.foreign.add(group_id)
            return {id(face): _refused(face, "group_of_another_scene") for face in members}
        infos, renewed = _infos(users, members)
        numbers = work.users.get_or_create_many(group, infos, renewed) if infos else {}
        tokens = work.faces.tokens_of_users(list(numbers.values())) if members else {}
        results: dict[int, Result] = {}
        own: list[NewFace] = []
        for face in members:
            user = numbers[face.result.user_id]
            known = tokens.setdefault(user, set())
            if face.face.token in known:
                results[id(face)] = replace(face.result, outcome=Outcome.PRESENT)
            elif len(known) >= MAX_FACES_PER_USER:
                results[id(face)] = _refused(face, "too_many_faces", f"the user has {MAX_FACES_PER_USER}")
            else:
                known.add(face.face.token)
                own.append(NewFace(user, face.face, self._model_id, face.embedding))
        work.faces.insert_many(group, own)
        new += own
        return results


def _by_group(
    faces: Iterable[ReadyFace], users: Iterable[ReadyUser]
) -> dict[str, tuple[list[ReadyUser], list[ReadyFace]]]:
    """Users and faces by group, in the order in which groups are named."""
    groups: dict[str, tuple[list[ReadyUser], list[ReadyFace]]] = {}
    for user in users:
        groups.setdefault(user.group_id, ([], []))[0].append(user)
    for face in faces:
        groups.setdefault(face.result.group_id, ([], []))[1].append(face)
    return groups


def _refused(face: ReadyFace, reason: str, detail: str = "") -> Result:
    return replace(face.result, outcome=Outcome.REFUSED, reason=reason, detail=detail)


def _infos(users: Iterable[ReadyUser], members: Iterable[ReadyFace]) -> tuple[dict[str, str | None], dict[str, str]]:
    """user_info by user, the last that says something; and that alone which replaces what a user has."""
    infos: dict[str, str | None] = {}
    renewed: dict[str, str] = {}
    given = [(user.user_id, user.user_info, user.renewed) for user in users if user.user_id]
    for user_id, info, renews in [*given, *((face.result.user_id, face.user_info, True) for face in members)]:
        infos[user_id] = infos.get(user_id) if info is None else info
        if renews and info is not None:
            renewed[user_id] = info
    return infos, renewed
