"""1:N and M:N: who of the enrolled people is in the picture."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from service import beside
from service.calibration.scores import IDENTITY_SCORE, ScoreTable
from service.errors import GroupNotFound, NoMatch, UserNotFound
from service.intake.controls import NO_CONTROLS, Controls
from service.intake.intake import Intake, nowhere
from service.intake.seen import SeenFace
from service.search.protocol import FaceSearch
from service.storage.engine import Database
from service.storage.searching import FoundFace
from service.values import App, FaceField, Hit, ImageSource

DEFAULT_THRESHOLD = 80.0
SAME_PICTURE = 0.9
"""A cosine that two embeddings of the same face of one picture always exceed, whatever runtime, precision or crop they
come from, unless it is too blurred to have one (decision 33). Such a face scores 100 because of its token (decision 3),
not of its cosine. So the index is never asked for a higher similarity than this, lest a high threshold keep such a face
from being found."""
ATTEMPTS = 3
"""Most times that a search is made. It is repeated when a user that it found was deleted meanwhile, since other users
may take that place."""
TOLD_WITHIN = 5e-9
"""Rounding error of the eight decimals of a score. A client that uses a score from an answer as the threshold of its
next search must find the same person again."""


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """``threshold`` in points of the score; ``user_id`` narrows 1:N to one user (1:N authentication)."""

    threshold: float = DEFAULT_THRESHOLD
    max_users: int = 1
    max_faces: int = 1
    user_id: str | None = None
    controls: Controls = NO_CONTROLS
    scene: str | None = None
    """Which groups are searched: those of this scene, of every scene (``ANY_SCENE``), or of no scene (``None``)."""
    fields: frozenset[FaceField] = frozenset()
    """What is asked about the faces besides who they are."""


@dataclass(frozen=True, slots=True)
class Match:
    """A user who reached the threshold, as enrolled in the group where the best face of the user is."""

    group_id: str
    user_id: str
    user_info: str
    score: float


@dataclass(frozen=True, slots=True)
class Identification:
    """One face of the picture and the users it may be, best first."""

    face: SeenFace
    matches: tuple[Match, ...]


@dataclass(frozen=True, slots=True)
class _Scope:
    """Where to look: the groups that exist, and the rows of one user if the search is narrowed to one."""

    group_pks: tuple[int, ...]
    user_pks: tuple[int, ...] | None
    head: int
    model_id: str | None
    """Of the model that the library is in."""


class IdentifyFaces:
    """The ``search`` and ``multi-search`` calls.

    The library may move to another model while a face is being embedded. So the library's model is read together with
    the groups to search. If it is another one, the search goes on in that model's ``IdentifyFaces``, which embeds the
    face anew.
    """

    def __init__(
        self,
        intake: Intake,
        scores: ScoreTable,
        database: Database,
        catalog: FaceSearch,
        by_model: Callable[[str], IdentifyFaces | None] = nowhere,
    ) -> None:
        """``by_model`` finds the one of another model, where that is loaded."""
        self._intake = intake
        self._scores = scores
        self._database = database
        self._catalog = catalog
        self._by_model = by_model

    def search(self, app: App, source: ImageSource, group_ids: Sequence[str], options: SearchOptions) -> Identification:
        """Look for the largest face of the picture.

        Raises ``GroupNotFound`` when none of the groups exists, ``UserNotFound`` when ``options.user_id`` is in none
        of them, ``NoMatch`` when nobody reaches the threshold.
        """
        first = beside.Part(partial(self._scope, app, group_ids, options))
        (face,) = self._faces(app, source, options, 1, first)
        self._intake.remember(app, [face])
        matches = self.matches(app, [face], group_ids, options, first)[0]
        if not matches:
            raise NoMatch
        return Identification(face, matches)

    def multi_search(
        self, app: App, source: ImageSource, group_ids: Sequence[str], options: SearchOptions
    ) -> list[Identification]:
        """Look for every face of the picture, largest face first; a face that matches nobody has no matches.

        Raises as ``search`` does, ``NoMatch`` only when no face matches anybody.
        """
        first = beside.Part(partial(self._scope, app, group_ids, options))
        faces = self._faces(app, source, options, options.max_faces, first)
        self._intake.remember(app, faces)
        matches = self.matches(app, faces, group_ids, options, first)
        if not any(matches):
            raise NoMatch
        return [Identification(face, found) for face, found in zip(faces, matches, strict=True)]

    def _faces(
        self, app: App, source: ImageSource, options: SearchOptions, limit: int, first: beside.Part[_Scope]
    ) -> list[SeenFace]:
        # Which groups to search does not depend on the picture. An idle server asks the database for them meanwhile.
        return self._intake.faces(
            app,
            source,
            limit=limit,
            embed=True,
            fields=options.fields,
            controls=options.controls,
            # A 1:N search skips faces that fail the controls; 1:1 authentication takes the largest face (decision 9).
            skip_failing=options.user_id is None,
            meanwhile=first.attempt,
        )

    def matches(
        self,
        app: App,
        faces: Sequence[SeenFace],
        group_ids: Sequence[str],
        options: SearchOptions,
        first: beside.Part[_Scope] | None = None,
    ) -> list[tuple[Match, ...]]:
        """Whom each face matches, by the library's model. Raises as ``search``, except ``NoMatch``.

        ``first``: the scope for the first attempt, where it has been asked for already.
        """
        hits: list[list[Hit]] = []
        known: Mapping[int, FoundFace] = {}
        for attempt in range(ATTEMPTS):
            scope = self._scope(app, group_ids, options) if first is None or attempt else first.take()
            if scope.model_id not in (None, self._intake.model_id):
                moved = self._by_model(scope.model_id)
                if moved is not None:
                    return moved.matches(app, faces, group_ids, options)
            self._catalog.catch_up(app.pk, scope.head)
            hits = self._intake.side_by_side([partial(self._hits, app, face, scope, options) for face in faces])
            known = self._known(app, hits)
            if all(hit.face_pk in known for found in hits for hit in found):
                break
        return self._describe(faces, hits, known, options)

    def _scope(self, app: App, group_ids: Sequence[str], options: SearchOptions) -> _Scope:
        with self._database.read(app.pk) as reader:
            scope = reader.searching.scope(app.pk, group_ids, options.scene)
            groups = tuple(scope.groups[name] for name in group_ids if name in scope.groups)
            if not groups:
                raise GroupNotFound
            users: tuple[int, ...] | None = None
            if options.user_id is not None:
                users = tuple(reader.users.pks(groups, options.user_id))
                if not users:
                    raise UserNotFound
            return _Scope(groups, users, scope.head, scope.model_id)

    def _hits(self, app: App, face: SeenFace, scope: _Scope, options: SearchOptions) -> list[Hit]:
        least = min(self._scores.similarity(options.threshold), SAME_PICTURE)
        probe = self._intake.embedding(face)
        if scope.user_pks is not None:
            hits = self._catalog.search_user(app.pk, scope.group_pks, scope.user_pks, probe)
            return [hit for hit in hits if hit.similarity >= least]
        return self._catalog.search(app.pk, scope.group_pks, probe, options.max_users, least)

    def _known(self, app: App, hits: Sequence[Sequence[Hit]]) -> Mapping[int, FoundFace]:
        """What the database says of the faces that were found, by their numbers."""
        everything = [hit.face_pk for found in hits for hit in found]
        if not everything:
            return {}
        with self._database.read(app.pk) as reader:
            return reader.searching.found(everything)

    def _describe(
        self,
        faces: Sequence[SeenFace],
        hits: Sequence[Sequence[Hit]],
        known: Mapping[int, FoundFace],
        options: SearchOptions,
    ) -> list[tuple[Match, ...]]:
        """Names, scores and order. Faces that are not ``known`` are left out."""
        described = []
        for face, found in zip(faces, hits, strict=True):
            matches = []
            for hit in found:
                enrolled = known.get(hit.face_pk)
                if enrolled is None:
                    continue
                same = enrolled.token == face.token
                score = IDENTITY_SCORE if same else self._scores.score(hit.similarity)
                if score + TOLD_WITHIN >= options.threshold:
                    user = enrolled.user
                    matches.append(Match(user.group_id, user.user_id, user.user_info, score))
            described.append(_one_per_user(matches, options.max_users))
        return described


def _one_per_user(matches: Iterable[Match], limit: int) -> tuple[Match, ...]:
    """Best first, each user once; ``sorted`` is stable, so ties keep the order of enrolment."""
    best: dict[str, Match] = {}
    for match in sorted(matches, key=lambda match: -match.score):
        best.setdefault(match.user_id, match)
    return tuple(best.values())[:limit]
