"""What a search reads, in as few statements as it takes: where to look, and whom it found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from service.storage.execution import Execution
from service.values import ANY_SCENE, UserEntry

_SCOPE = """
    SELECT change_heads.seq, (SELECT model_id FROM library_models WHERE role = 'active'), groups.name, groups.pk
    FROM change_heads LEFT JOIN groups
      ON groups.app_pk = change_heads.app_pk AND groups.name = ANY (%(names)s) AND {condition}
    WHERE change_heads.app_pk = %(app_pk)s
"""
_WITHOUT_SCENE = _SCOPE.format(condition="groups.scene IS NULL")
_IN_ANY_SCENE = _SCOPE.format(condition="groups.scene IS NOT NULL")
_IN_SCENE = _SCOPE.format(condition="groups.scene = %(scene)s")

# One row after the other by its number. Of a plain join PostgreSQL, while nobody has counted the rows of a library that
# was just filled, expects a handful of users, and goes through all faces for each of them: a second with ten thousand.
_KNOWN = """
    SELECT face.pk, face.token, owner.pk, home.name, owner.name, owner.info
    FROM {faces} AS face
    CROSS JOIN LATERAL (SELECT pk, group_pk, name, info FROM users WHERE users.pk = face.user_pk OFFSET 0) AS owner
    CROSS JOIN LATERAL (SELECT name FROM groups WHERE groups.pk = owner.group_pk OFFSET 0) AS home
"""
_FOUND = _KNOWN.format(
    faces="""unnest(%(pks)s::bigint[]) AS wanted (pk)
    CROSS JOIN LATERAL (SELECT pk, token, user_pk FROM faces WHERE faces.pk = wanted.pk OFFSET 0)"""
)
# For one face, which most searches ask for, PostgreSQL keeps the plan. That of a list it makes anew every time, for it
# expects longer ones: .10 instead of .03 ms on a warm connection (by hand).
_FOUND_ONE = _KNOWN.format(faces="(SELECT pk, token, user_pk FROM faces WHERE faces.pk = %(pk)s::bigint OFFSET 0)")


@dataclass(frozen=True, slots=True)
class Scope:
    """Where the app's change log ends (0 for an app that is gone), and the numbers of the groups that exist by name.

    ``model_id``: of the model that the library is in, ``None`` where nothing has said so yet.
    """

    head: int
    groups: dict[str, int]
    model_id: str | None = None


@dataclass(frozen=True, slots=True)
class FoundFace:
    """An enrolled face by its token, and whose it is."""

    token: str
    user: UserEntry


class SearchReader:
    """The two questions of a search."""

    def __init__(self, execution: Execution) -> None:
        self._execution = execution

    def scope(self, app_pk: int, names: Sequence[str], scene: str | None) -> Scope:
        """Groups of a scene, of ``ANY_SCENE``, or (``None``) of none, and the head of the log, as of one moment."""
        parameters = {"app_pk": app_pk, "names": list(names)}
        if scene is None:
            rows = self._execution.direct(_WITHOUT_SCENE, parameters)
        elif scene == ANY_SCENE:
            rows = self._execution.direct(_IN_ANY_SCENE, parameters)
        else:
            rows = self._execution.direct(_IN_SCENE, {**parameters, "scene": scene})
        head: int = rows[0][0] if rows else 0
        model_id: str | None = rows[0][1] if rows else None
        return Scope(head, {name: pk for _, _, name, pk in rows if pk is not None}, model_id)

    def found(self, face_pks: Sequence[int]) -> dict[int, FoundFace]:
        """Faces by number; one deleted meanwhile is left out."""
        if len(face_pks) == 1:
            rows = self._execution.direct(_FOUND_ONE, {"pk": face_pks[0]})
        else:
            rows = self._execution.direct(_FOUND, {"pks": list(face_pks)})
        return {
            pk: FoundFace(token, UserEntry(user_pk, group_id, user_id, info))
            for pk, token, user_pk, group_id, user_id, info in rows
        }
