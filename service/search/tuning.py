"""How long a short list has to be, measured on the faces themselves against comparing everything."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from service.search.protocol import Keys
from service.search.segment import LONGEST_LIST, USERS_LIMIT, Segment
from service.values import Embedding, Embeddings

PROBES = 48
"""Faces that serve as probes; with the 50 best users of each, 2,400 users have to be in the lists."""
FACES_EACH = 256
"""A probe's best users are taken from this many of its most similar faces."""
SHORTEST = 256
"""Lower bound of the length: there are too few probes to rely on a smaller measured one."""
SHARE = 0.99
"""Share of the best users that a list of the measured length holds; that length is then multiplied by
:data:`MARGIN`."""
MARGIN = 1.6
"""At a million faces 1.2 found .988 of the best users at any similarity, 1.4 .992, 1.75 .996 (150 probes)."""
_SEED = 11
_LENGTH = 2.0
"""More than any embedding's, so that no similarity is below its opposite."""


def _go_on() -> None:
    """A ``pause`` that does nothing."""


def short_list(segments: Sequence[Segment], pause: Callable[[], None] = _go_on) -> int:
    """The length of a short list that holds nearly all best users of some probes, with a margin.

    0 when no length up to the longest does. For one segment, or for several that share a list. Among a million faces
    the fiftieth best user of a face lies near the usual threshold, so this measures the hard cases. ``pause`` is called
    between pieces of work and may raise.
    """
    bounds = np.cumsum([0, *(len(segment.face_pks) for segment in segments)])
    total = int(bounds[-1])
    longest = min(LONGEST_LIST, total)
    chosen = np.sort(np.random.default_rng(_SEED).choice(total, min(PROBES, total), replace=False))
    numbers = np.searchsorted(bounds, chosen, side="right") - 1
    places = [(segments[n], row) for n, row in zip(numbers, chosen - bounds[numbers], strict=True)]
    # Removed faces are no probes: after a restart they may be all zeros, and every face is equally similar to zeros.
    living = [segment.embeddings[row] for segment, row in places if segment.there(row)]
    if not living:
        return 0
    probes = np.stack(living).astype(np.float32)
    nearest = _nearest(segments, probes, pause)
    needed = [_needed(best, _listed(segments, probe, longest)) for best, probe in zip(nearest, probes, strict=True)]
    length = max(SHORTEST, int(MARGIN * float(np.quantile(np.concatenate(needed), SHARE))))
    return length if length <= longest else 0


def _nearest(segments: Sequence[Segment], probes: Embeddings, pause: Callable[[], None]) -> list[Keys]:
    """Users of each probe's most similar faces, by falling similarity."""
    each = [segment.nearest(probes, FACES_EACH, pause) for segment in segments]
    similarities = np.concatenate([found for found, _ in each], axis=1)
    users = np.concatenate([segment.user_pks[rows] for segment, (_, rows) in zip(segments, each, strict=True)], axis=1)
    order = np.argsort(-similarities, axis=1)[:, :FACES_EACH]
    there = np.take_along_axis(similarities, order, axis=1) >= -_LENGTH
    return [row[its] for row, its in zip(np.take_along_axis(users, order, axis=1), there, strict=True)]


def _listed(segments: Sequence[Segment], probe: Embedding, length: int) -> Keys:
    """Users of the best rows by their estimates, by falling estimate."""
    each = [segment.estimated(probe, min(length, len(segment.face_pks))) for segment in segments]
    estimates = np.concatenate([found for found, _ in each])
    users = np.concatenate([segment.user_pks[rows] for segment, (_, rows) in zip(segments, each, strict=True)])
    return users[np.argsort(-estimates, kind="stable")[:length]]


def _needed(best: Keys, listed: Keys) -> Keys:
    """Length at which the list holds a face of each of the best users; more than the longest where it never does."""
    _, first = np.unique(best, return_index=True)
    wanted = best[np.sort(first)[:USERS_LIMIT]]
    found, places = np.unique(listed, return_index=True)
    at = np.minimum(np.searchsorted(found, wanted), len(found) - 1)
    return np.where(found[at] == wanted, places[at] + 1, LONGEST_LIST + 1)
