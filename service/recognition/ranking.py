"""How well a face fits each of the faces that a user has been enrolled with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from service.calibration.scores import IDENTITY_SCORE, ScoreTable
from service.errors import UserNotFound
from service.intake.intake import Intake, nowhere
from service.intake.seen import SeenFace
from service.recognition.identify import Identification, IdentifyFaces, Match, SearchOptions
from service.search.similarity import exact, rounded
from service.storage.engine import Database
from service.values import App, FaceField, ImageSource


@dataclass(frozen=True, slots=True)
class Verification:
    """``scores`` are those of the user's faces, best first."""

    face: SeenFace
    scores: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class RankedMatch:
    """A user who may be in the picture, with the scores of several of the user's faces, best first."""

    match: Match
    scores: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class RankedIdentification:
    """One face of the picture and the users it may be, best first."""

    face: SeenFace
    matches: tuple[RankedMatch, ...]


class RankFaces:
    """1:1 against an enrolled user, and 1:N with several scores a user.

    Scores are taken from the embeddings in the database, not from the index: a user has 20 faces at most in a group.
    """

    def __init__(
        self,
        intake: Intake,
        scores: ScoreTable,
        database: Database,
        identify: IdentifyFaces,
        by_model: Callable[[str], RankFaces | None] = nowhere,
    ) -> None:
        """``by_model`` finds the one of another model that the library has moved to, where that is loaded."""
        self._by_model = by_model
        self._intake = intake
        self._scores = scores
        self._database = database
        self._identify = identify

    def verify(
        self,
        app: App,
        source: ImageSource,
        group_ids: Sequence[str],
        user_id: str,
        limit: int,
        fields: frozenset[FaceField],
    ) -> Verification:
        """Compare the largest face of a picture, asked for ``fields``, with those of a user in some ordinary groups.

        Raises ``UserNotFound`` when the user is in none of them, and what the intake raises.
        """
        users = self._users(app, group_ids, user_id)  # before the expensive part
        if not users:
            raise UserNotFound
        face = self._intake.faces(app, source, embed=True, fields=fields)[0]
        return Verification(face, self.best(app, face, users, limit))

    def identify(
        self, app: App, source: ImageSource, group_ids: Sequence[str], options: SearchOptions, faces_per_user: int
    ) -> RankedIdentification:
        """As ``IdentifyFaces.search``, with at most ``faces_per_user`` scores for every user that was found."""
        found = self._identify.search(app, source, group_ids, options)
        return RankedIdentification(
            found.face, tuple(self._ranked(app, found, match, faces_per_user) for match in found.matches)
        )

    def _ranked(self, app: App, found: Identification, match: Match, limit: int) -> RankedMatch:
        if limit == 1:
            return RankedMatch(match, (match.score,))
        scores = self.best(app, found.face, self._users(app, [match.group_id], match.user_id), limit)
        return RankedMatch(match, scores or (match.score,))  # deleted meanwhile: what the index knew

    def _users(self, app: App, group_ids: Sequence[str], user_id: str) -> list[int]:
        with self._database.read(app.pk) as reader:
            groups = list(reader.groups.pks_in_scene(app.pk, group_ids, None).values())
            return reader.users.pks(groups, user_id) if groups else []

    def best(self, app: App, face: SeenFace, users: Sequence[int], limit: int) -> tuple[float, ...]:
        """The best scores of a face with the faces of some users, by the model that the library is in."""
        with self._database.read(app.pk) as reader:
            active = reader.models.active_id()
            enrolled = reader.faces.embeddings_of_users(users, self._intake.model_id)
        moved = None if active in (None, self._intake.model_id) else self._by_model(active)
        if moved is not None:
            return moved.best(app, face, users, limit)
        if not enrolled:
            return ()
        # As the index has them, or one face would have two scores.
        similarities = exact(rounded(np.stack([embedding for _, embedding in enrolled])), self._intake.embedding(face))
        scores = [
            IDENTITY_SCORE if token == face.token else self._scores.score(similarity)
            for (token, _), similarity in zip(enrolled, similarities.tolist(), strict=True)
        ]
        return tuple(sorted(scores, reverse=True)[:limit])
