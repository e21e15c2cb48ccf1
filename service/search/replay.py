"""Applying rows of the change log, and blocks of a snapshot, to the indexes of one app."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from service.search.protocol import Block, GroupIndex
from service.values import Change, ChangeKind, ChangeMark, lasting_additions

Groups = dict[int, GroupIndex]
NewIndex = Callable[[int], GroupIndex]
"""Makes an empty index with room for so many faces."""


def fill(groups: Groups, block: Block, new_index: NewIndex) -> None:
    """Add the faces of a block to the indexes of their groups, making those that are missing."""
    face_pks, user_pks, group_pks, embeddings = block
    order = np.argsort(group_pks, kind="stable")
    found, starts = np.unique(group_pks[order], return_index=True)
    for group_pk, rows in zip(found.tolist(), np.split(order, starts[1:]), strict=False):
        _index(groups, group_pk, new_index, len(rows)).add_many(face_pks[rows], user_pks[rows], embeddings[rows])


def apply_additions(groups: Groups, changes: Sequence[Change], new_index: NewIndex) -> None:
    """Apply the additions among rows of the log, group by group. To be followed by :func:`apply_removals`.

    The order of additions and removals does not matter, since no number is given twice; what is both added and removed
    in ``changes`` is left out. With additions first, a face that is replaced is never missing in between.
    """
    added: dict[int, list[Change]] = {}
    for change in surviving_additions(changes):
        added.setdefault(change.group_pk, []).append(change)
    for group_pk, rows in added.items():
        _index(groups, group_pk, new_index, len(rows)).add_many(
            np.array([row.face_pk for row in rows], dtype=np.int64),
            np.array([row.user_pk for row in rows], dtype=np.int64),
            np.stack([row.embedding for row in rows if row.embedding is not None]),
        )


def apply_removals(groups: Groups, changes: Sequence[Change]) -> None:
    """Apply the removals among the same rows."""
    for change in changes:
        if change.kind is not ChangeKind.ADD_FACE:
            _remove(groups, change)


def continued(
    changes: Sequence[Change], position: int, mark: ChangeMark | None, *, missing: bool
) -> Sequence[Change] | None:
    """The rows of ``changes`` that come after ``position``; ``None`` where the log does not continue from there.

    With a ``mark`` the rows were read from ``position`` on, and the first of them has to be the row with that mark;
    without one they were read from the next position on. The log does not continue where it was pruned, or where it has
    another row at ``position``: then the database was put back to an earlier state, or lost its last changes to a
    standby that took over. ``missing``: whether at least one further row is known to exist.
    """
    further = changes
    if mark is not None and changes and changes[0].seq == position:
        if changes[0].mark != mark:
            return None
        further = changes[1:]
    gap = further[0].seq != position + 1 if further else missing
    return None if gap else further


def surviving_additions(changes: Sequence[Change]) -> list[Change]:
    """The additions that ``changes`` do not take back, less those without an embedding."""
    return [change for change in lasting_additions(changes) if change.embedding is not None]


def _remove(groups: Groups, change: Change) -> None:
    index = groups.get(change.group_pk)
    if index is None:
        return
    if change.kind is ChangeKind.REMOVE_FACE:
        index.remove_face(change.face_pk)
    elif change.kind is ChangeKind.REMOVE_USER:
        index.remove_user(change.user_pk)
    if change.kind is ChangeKind.REMOVE_GROUP or len(index) == 0:
        del groups[change.group_pk]


def _index(groups: Groups, group_pk: int, new_index: NewIndex, expected: int) -> GroupIndex:
    index = groups.get(group_pk)
    if index is None:
        index = groups[group_pk] = new_index(expected)
    return index
