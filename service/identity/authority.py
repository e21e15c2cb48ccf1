"""What an authority on identities is asked and what it answers."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Protocol

from service.identity.claims import Claim, Validity
from service.values import App, Embedding


class Verdict(str, enum.Enum):
    """What an authority says of a claim."""

    MATCH = "match"
    MISMATCH = "mismatch"
    UNKNOWN = "unknown"
    INVALID = "invalid"


@dataclass(frozen=True, slots=True, eq=False)
class Attestation:
    """An authority's answer.

    ``validity`` is ``None`` where the authority does not know it; ``embedding`` is that of its picture by the weights
    in use, ``None`` unless a picture was asked for and the verdict is a match.
    """

    verdict: Verdict
    validity: Validity | None = None
    embedding: Embedding | None = None


class Authority(Protocol):
    """Someone who knows people by number and name. Asked from many threads at once."""

    def ask(self, app: App, claim: Claim, *, picture: bool) -> Attestation:
        """What is known of a claim that an app made; with ``picture`` also what the person looks like.

        Raises ``AuthorityUnavailable``; and for a match of which a picture was asked ``ReferencePictureMissing``,
        ``ReferencePicturePoor``.
        """
        ...
