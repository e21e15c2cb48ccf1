"""Find faces in a picture."""

from __future__ import annotations

from service.intake.intake import Intake
from service.intake.seen import Controls, SeenFace
from service.values import App, ImageSource


class DetectFaces:
    """The ``detect`` call: faces of a picture, largest first, each remembered under its token."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake

    def __call__(
        self, app: App, source: ImageSource, max_faces: int, fields: frozenset[str], controls: Controls
    ) -> list[SeenFace]:
        """Raises ``FaceNotFound`` for a picture without a face."""
        faces = self._intake.faces(app, source, limit=max_faces)
        self._intake.remember(app, faces)
        return faces
