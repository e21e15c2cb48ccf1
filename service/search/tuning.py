"""How long a segment's short list has to be, measured on its own faces against comparing everything."""

from __future__ import annotations

import numpy as np

from service.search.protocol import Keys
from service.search.segment import LONGEST_LIST, USERS_LIMIT, Segment

PROBES = 48
"""Faces of the segment that are looked for; with 50 users each, 2,400 users have to be in the lists."""
FACES_EACH = 256
"""Most similar faces of a probe among which the best users are sought."""
SHORTEST = 256
SHARE = 0.99
"""So many of the best users have to be in a list of the measured length; it is then lengthened by :data:`MARGIN`."""
MARGIN = 1.6
"""At a million faces 1.2 found .988 of the best users at any similarity, 1.4 .992, 1.75 .996 (150 probes)."""
_SEED = 11


def short_list(segment: Segment) -> int:
    """The length that held nearly all of the probes' best users, with a margin; 0 when no length short enough does.

    Among a million faces the fiftieth best user of a face lies just around the usual threshold, so what is measured
    here is what is hard.
    """
    total = len(segment.face_pks)
    longest = min(LONGEST_LIST, total)
    chosen = np.random.default_rng(_SEED).choice(total, min(PROBES, total), replace=False)
    probes = segment.embeddings[chosen].astype(np.float32)
    _, nearest = segment.nearest(probes, FACES_EACH)
    listed = segment.places_in_list(probes, longest)
    needed = [_needed(segment, best, found) for best, found in zip(nearest, listed, strict=True)]
    length = max(SHORTEST, int(MARGIN * float(np.quantile(np.concatenate(needed), SHARE))))
    return length if length <= longest else 0


def _needed(segment: Segment, best: Keys, listed: Keys) -> Keys:
    """Length at which the list holds a face of each of the best users; more than the longest where it never does."""
    users = segment.user_pks[best]
    _, first = np.unique(users, return_index=True)
    wanted = users[np.sort(first)[:USERS_LIMIT]]
    found, places = np.unique(segment.user_pks[listed[listed >= 0]], return_index=True)
    at = np.minimum(np.searchsorted(found, wanted), len(found) - 1)
    return np.where(found[at] == wanted, places[at] + 1, LONGEST_LIST + 1)
