"""Whether a video shows one living person who does what a session asked for."""

from __future__ import annotations

import base64
import statistics
from dataclasses import dataclass

from service.calibration.scores import ScoreTable
from service.errors import FaceNotFound, FaceRejected, PersonChanged, SessionOfAnotherKind, SoundMissing
from service.images.video import Video
from service.intake.controls import Controls
from service.intake.intake import Intake
from service.intake.seen import SeenFace, encode_jpeg
from service.intake.watch import Observation, Still, Watch
from service.recognition.actions import Action, answer, greatest_jump, longest_absence, performed, spoken_openings
from service.recognition.liveness import liveness_of
from service.recognition.liveness_sessions import LivenessSessions, Session, SessionKind
from service.values import App, Control, FaceField, ImageKind, ImageSource

ONE_PERSON_SCORE = 70.0
"""Least score of every frame's face against the best frame's. A second person who was cut in passes at a false accept
rate of 1e-3.

Frames of one person, turned heads and open mouths included, score well above it (figures: ``docs/video-liveness.md``).
Frames of an action need no lower limit: turned heads and closed eyes pass as well as frontal faces.
"""

GREATEST_JUMP = 0.8
"""Sides of its box that a face may move by from one frame looked at to the next, or in 0.2 s if that is longer ago."""

LONGEST_ABSENCE = 1.0
"""Longest time without a face, in seconds: in a longer one the person could be exchanged."""

SECONDS_PER_DIGIT = 0.15
"""Audible seconds that each digit needs: a spoken digit lasts 0.3 s and more, half of which is vowels."""

OPENINGS_PER_DIGIT = 0.5
"""How often the mouth must open for each digit; digits run into each other."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One frame of the video as a JPEG file, and its face."""

    jpeg: bytes
    face: SeenFace


@dataclass(frozen=True, slots=True)
class VideoVerdict:
    """What a video shows.

    ``score``: served liveness 0..1, the median of the pictures'; ``pictures``: 1 to 8, ``best`` the best one's
    position; ``session``: the one that was answered, if any; ``performed``: its actions that were done in their order,
    and at their end the first that was too many; ``mouth_moved``: whether the mouth opened as often as the session's
    digits would have it.
    """

    score: float
    pictures: tuple[Picture, ...]
    best: int
    session: Session | None
    performed: tuple[Action, ...]
    mouth_moved: bool

    @property
    def spoofing(self) -> tuple[float, ...]:
        """How much each picture looks made by a network, 0..1, where it was asked for."""
        told = (picture.face.report.spoofing for picture in self.pictures)
        return tuple(value for value in told if value is not None)


class VerifyVideo:
    """The ``faceliveness/verify`` call."""

    def __init__(self, watch: Watch, intake: Intake, scores: ScoreTable, sessions: LivenessSessions) -> None:
        self._watch = watch
        self._intake = intake
        self._scores = scores
        self._sessions = sessions

    def __call__(
        self,
        app: App,
        text: str,
        session_id: str | None,
        kind: SessionKind | None,
        fields: frozenset[FaceField],
    ) -> VideoVerdict:
        """Judge a video in base64; ``kind`` is what the caller takes the session for, ``None`` whatever it is.

        The session is used up once the bytes look like a video, whatever comes after. Raises what ``Watch`` raises,
        ``SessionUnusable``, ``SessionOfAnotherKind``, ``SoundMissing``, ``PersonChanged``, another ``FaceRejected``
        when no picture is good enough, ``ServiceUnavailable`` for packs without these networks.
        """
        video = self._watch.open(text)
        session = None if session_id is None else self._sessions.take(app, session_id)
        if session is not None and kind is not None and session.kind is not kind:
            raise SessionOfAnotherKind
        wanted = () if session is None else session.actions
        asked = self._sessions.actions
        seen = self._watch(
            video, lambda track: [shown for deed in answer(track, wanted, asked) for shown in deed.shown]
        )
        self._check_sound(video, session)
        self._check_one_person(seen)
        pictures = self._pictures(app, seen, fields)
        best = min(
            range(len(pictures)), key=lambda index: abs(pictures[index][0].seconds - seen.stills[seen.best].seconds)
        )
        told = tuple(picture for _, picture in pictures)
        self._intake.remember(app, [picture.face for picture in told])
        return VideoVerdict(
            score=statistics.median_low(liveness_of(picture.face) for picture in told),
            pictures=told,
            best=best,
            session=session,
            performed=performed(seen.track, wanted, asked),
            mouth_moved=session is not None
            and spoken_openings(seen.track) >= max(1.0, OPENINGS_PER_DIGIT * len(session.code)),
        )

    def _check_sound(self, video: Video, session: Session | None) -> None:
        if session is None or session.kind is not SessionKind.VOICE:
            return
        needed = SECONDS_PER_DIGIT * len(session.code)
        if video.audible_seconds < needed:
            raise SoundMissing(f"{video.audible_seconds:.2f} s can be heard, {needed:.2f} s are needed")

    def _check_one_person(self, seen: Observation) -> None:
        similarities = seen.embeddings @ seen.embeddings[seen.best]
        if not self._scores.score(float(similarities.min())) >= ONE_PERSON_SCORE:
            raise PersonChanged("two people are seen")
        if not greatest_jump(seen.track) <= GREATEST_JUMP:
            raise PersonChanged("the face jumps")
        if not longest_absence(seen.track) <= LONGEST_ABSENCE:
            raise PersonChanged("the face was gone")

    def _pictures(self, app: App, seen: Observation, fields: frozenset[FaceField]) -> list[tuple[Still, Picture]]:
        """The stills that pass as pictures; raises what the best of them failed with when none does."""
        asked = fields | {FaceField.LIVENESS}
        passed: list[tuple[Still, Picture]] = []
        failures: list[tuple[float, FaceRejected | FaceNotFound]] = []
        for still in seen.stills:
            jpeg = encode_jpeg(still.image)
            source = ImageSource(ImageKind.BASE64, base64.b64encode(jpeg).decode())
            try:
                (face, *_) = self._intake.faces(app, source, fields=asked, controls=Controls(quality=Control.LOW))
            except (FaceRejected, FaceNotFound) as failure:
                failures.append((still.merit, failure))
                continue
            passed.append((still, Picture(jpeg, face)))
        if not passed:
            raise max(failures, key=lambda failed: failed[0])[1]
        return passed
