"""Judging captures by what their devices did before, and remembering them for the next time."""

from __future__ import annotations

import hashlib
import hmac

import numpy as np

from service.access.keys import Keyring
from service.calibration.scores import ScoreTable
from service.capture.envelope import Capture
from service.capture.rules import Facts, Risk, RiskLimits, judge
from service.intake.intake import Intake
from service.intake.seen import SeenFace
from service.storage.captures import CaptureWriter, SeenPerson
from service.storage.engine import Database
from service.storage.rows import embedding_bytes, embedding_of
from service.values import App, Embedding

SAME_PERSON_SCORE = 80.0
"""Two faces that score less count as two people: of 10,000 pairs of strangers, one is taken for the same person."""

_HASH_BYTES = 16


class JudgeRisk:
    """Judges captures one after another and remembers them.

    Devices and pictures are stored as keyed hashes, and people as sealed embeddings, only as many as the rules need.
    All of it is kept per app and for a limited time.
    """

    def __init__(
        self, intake: Intake, scores: ScoreTable, database: Database, keyring: Keyring, limits: RiskLimits
    ) -> None:
        self._intake = intake
        self._same_person = scores.similarity(SAME_PERSON_SCORE)
        self._database = database
        self._keyring = keyring
        self._hash_key = keyring.derive("captures")[0]
        self._limits = limits

    def __call__(self, app: App, capture: Capture, face: SeenFace | None, *, passed: bool) -> Risk:
        """Note a capture and judge it.

        ``face`` is that of the person in front of the device, ``None`` where none was found; ``passed`` tells whether
        the capture did what it was for. Raises ``ServiceUnavailable`` where the history cannot be asked.
        """
        embedding = None if face is None else self._intake.embedding(face)
        pictures = {self._hashed(app, "picture", hashlib.sha256(image).digest()) for image in capture.images}
        limits = self._limits
        with self._database.admin(app.pk) as work:
            notes = work.captures
            name = self._hashed(app, "device", capture.device_id.encode())
            device = notes.see_device(app.pk, name, passed=passed, history=limits.history)
            seen = notes.see_pictures(app.pk, device.pk, pictures, limits.history)
            if not passed:
                notes.add_failure(device.pk)
            facts = Facts(
                people=self._people(notes, app, device.pk, embedding),
                failures=notes.failures(device.pk, limits.window),
                clock=capture.clock,
                picture_repeated=seen.repeated,
                picture_elsewhere=seen.elsewhere,
                known=device.passed_before > 0,
            )
        return judge(facts, limits)

    def _people(self, notes: CaptureWriter, app: App, device_pk: int, embedding: Embedding | None) -> int:
        """How many different people were in front of the device lately, this one included."""
        model_id, limits = self._intake.model_id, self._limits
        known = notes.people(device_pk, model_id, limits.window)
        if embedding is None:
            return len(known)
        for person in known:
            if float(np.dot(embedding, self._opened(app, person))) >= self._same_person:
                notes.see_person_again(person.pk)
                return len(known)
        sealed = self._keyring.seal(embedding_bytes(embedding), person_context(app.app_id))
        notes.add_person(device_pk, model_id, sealed, limits.people)
        return len(known) + 1

    def _opened(self, app: App, person: SeenPerson) -> Embedding:
        embedding = embedding_of(self._keyring.open(person.embedding, person_context(app.app_id)))
        if embedding is None:  # only for no bytes at all
            raise ValueError("an embedding was expected")
        return embedding

    def _hashed(self, app: App, kind: str, value: bytes) -> bytes:
        """Of no use to anybody without the master key, and another one in each app."""
        message = b"\0".join([kind.encode(), app.app_id.encode(), value])
        return hmac.new(self._hash_key, message, hashlib.sha256).digest()[:_HASH_BYTES]


def person_context(app_id: str) -> bytes:
    """Binds a sealed embedding to its app and its use."""
    return f"capture-person:{app_id}".encode()
