"""What is held about a person, as an archive to hand to that person: JSON, and pictures beside it."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from typing import IO, Any

from service.auditing import Operation, current, operation
from service.errors import UserNotFound
from service.storage.audit import AuditEntry
from service.storage.disclosure import HeldFace
from service.storage.engine import Database, Reader
from service.values import App

DOCUMENT = "person.json"

_UNSAFE = re.compile(r"[^\w@-]", re.ASCII)


class Disclosure:
    """Writing archives. That one was made stands in the audit log."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def write(
        self,
        app: App,
        user_id: str,
        out: IO[bytes],
        *,
        embeddings: bool = False,
        beside: Mapping[str, object] | None = None,
        pictures: Mapping[str, bytes] | None = None,
    ) -> dict[str, int]:
        """Write a ZIP with ``person.json`` and ``faces/<group>/<token>.jpg``; returns counts by kind of data.

        ``beside`` and ``pictures``: what other rooms hold about the person. Raises ``UserNotFound`` where nothing is
        known of the user.
        """
        told = self._told(app, user_id)
        with zipfile.ZipFile(out, "w") as archive, self._database.read(app.pk) as reader:
            content = self._content(reader, app, user_id, archive, embeddings=embeddings)
            content["audit"] = _audit(told)
            if not (content["groups"] or content["audit"] or content["feedback"] or beside):
                raise UserNotFound(f"nothing is known of a user {user_id} in app {app.app_id}")
            for name, picture in (pictures or {}).items():
                archive.writestr(name, picture)
            content.update(beside or {})
            text = json.dumps(content, ensure_ascii=False, indent=1)
            archive.writestr(DOCUMENT, text, compress_type=zipfile.ZIP_DEFLATED)
        counts = {name: len(content[name]) for name in ("groups", "remembered_faces", "feedback", "audit")}
        counts["faces"] = sum(len(group["faces"]) for group in content["groups"])
        naming = Operation(current().actor, "user.export", app.pk, users=(user_id,))
        with operation(naming), self._database.admin(app.pk) as work:
            work.audit.record(None, counts, chain=app.pk)
        return counts

    def _told(self, app: App, user_id: str) -> list[AuditEntry]:
        """Entries of the app's chain that name the user. Only the query's own condition keeps other apps out.

        Row-level security would be a second guard, but under it PostgreSQL cannot use the index over arrays and would
        read every entry of the app.
        """
        with self._database.read() as reader:
            return reader.audit.latest(None, chain=app.pk, user=user_id)

    def _content(
        self, reader: Reader, app: App, user_id: str, archive: zipfile.ZipFile, *, embeddings: bool
    ) -> dict[str, Any]:
        held = reader.disclosure
        return {
            "app_id": app.app_id,
            "user_id": user_id,
            "exported": datetime.now(timezone.utc).isoformat(),
            "groups": [
                {
                    "group_id": user.group_id,
                    "scene": user.scene,
                    "user_info": user.user_info,
                    "enrolled": user.enrolled.isoformat(),
                    "faces": [
                        _face(face, archive, f"faces/{_UNSAFE.sub('_', user.group_id)}", embeddings=embeddings)
                        for face in held.faces(user.pk)
                    ],
                }
                for user in held.user(app.pk, user_id)
            ],
            "remembered_faces": [
                _face(face, archive, "remembered", embeddings=embeddings) for face in held.remembered(app.pk, user_id)
            ],
            "feedback": [
                {"created": created.isoformat(), "content": item} for created, item in held.feedback(app.pk, user_id)
            ],
        }


def _face(held: HeldFace, archive: zipfile.ZipFile, folder: str, *, embeddings: bool) -> dict[str, Any]:
    """One face as JSON; its crop goes into the archive."""
    face = held.face
    crop = None
    if face.portrait is not None:
        crop = f"{folder}/{_UNSAFE.sub('_', face.token)}.jpg"
        archive.writestr(crop, face.portrait)
    content: dict[str, Any] = {
        "face_token": face.token,
        "enrolled": None if held.enrolled is None else held.enrolled.isoformat(),
        "expires": None if held.expires is None else held.expires.isoformat(),
        "location": asdict(face.location),
        "angle": asdict(face.angles),
        "confidence": face.confidence,
        "quality": held.quality,
        "points": face.points,
        "model": held.model_id,
        "other_models": sorted(held.by_others),
        "crop": crop,
    }
    if embeddings and held.embedding is not None:
        content["embedding"] = held.embedding.tolist()
    if embeddings and held.by_others:
        content["embeddings_of_other_models"] = {model: made.tolist() for model, made in held.by_others.items()}
    if held.damaged:
        content["damaged"] = True
    return content


def _audit(entries: Sequence[AuditEntry]) -> list[dict[str, object]]:
    return [
        {
            "time": entry.draft.time.isoformat(),
            "actor": entry.draft.actor,
            "call": entry.draft.call,
            "outcome": entry.draft.outcome,
            "groups": entry.draft.groups,
        }
        for entry in entries
    ]
