"""What a search reads, in as few statements as it takes: where to look, and whom it found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from service.storage.execution import Execution
from service.values import ANY_SCENE, UserEntry

_PKS = sa.bindparam("pks", type_=ARRAY(sa.BigInteger))
_NAMES = sa.bindparam("names", type_=ARRAY(sa.Text))

# Written once and as text: on the hot path, making an expression would take longer than running it.
_SCOPE = """
    SELECT change_heads.seq, groups.name, groups.pk
    FROM change_heads LEFT JOIN groups
      ON groups.app_pk = change_heads.app_pk AND groups.name = ANY (:names) AND {condition}
    WHERE change_heads.app_pk = :app_pk
"""
_WITHOUT_SCENE = sa.text(_SCOPE.format(condition="groups.scene IS NULL")).bindparams(_NAMES)
_IN_ANY_SCENE = sa.text(_SCOPE.format(condition="groups.scene IS NOT NULL")).bindparams(_NAMES)
_IN_SCENE = sa.text(_SCOPE.format(condition="groups.scene = :scene")).bindparams(_NAMES)

_FOUND = sa.text("""
    SELECT faces.pk, faces.token, users.pk AS user_pk, groups.name AS group_id, users.name AS user_id, users.info
    FROM faces JOIN users ON users.pk = faces.user_pk JOIN groups ON groups.pk = users.group_pk
    WHERE faces.pk = ANY (:pks)
""").bindparams(_PKS)


@dataclass(frozen=True, slots=True)
class Scope:
    """Where the app's change log ends (0 for an app that is gone), and the numbers of the groups that exist by name."""

    head: int
    groups: dict[str, int]


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
            rows = self._execution.run(_WITHOUT_SCENE, parameters).all()
        elif scene == ANY_SCENE:
            rows = self._execution.run(_IN_ANY_SCENE, parameters).all()
        else:
            rows = self._execution.run(_IN_SCENE, {**parameters, "scene": scene}).all()
        head = rows[0].seq if rows else 0
        return Scope(head, {row.name: row.pk for row in rows if row.pk is not None})

    def found(self, face_pks: Sequence[int]) -> dict[int, FoundFace]:
        """Faces by number; one deleted meanwhile is left out."""
        rows = self._execution.run(_FOUND, {"pks": list(face_pks)})
        return {
            row.pk: FoundFace(row.token, UserEntry(row.user_pk, row.group_id, row.user_id, row.info)) for row in rows
        }
