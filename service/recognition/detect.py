"""Find faces in a picture."""

from __future__ import annotations

from service.intake.controls import Controls
from service.intake.intake import Intake
from service.intake.order import FaceOrder
from service.intake.seen import SeenFace
from service.values import App, FaceField, ImageSource


class DetectFaces:
    """The ``detect`` call: faces of a picture in an order, each remembered under its token."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake

    def __call__(
        self,
        app: App,
        source: ImageSource,
        max_faces: int,
        fields: frozenset[FaceField],
        controls: Controls,
        order: FaceOrder = FaceOrder.AREA,
    ) -> list[SeenFace]:
        """Read ``fields`` off every face that passes the controls; raises what ``Intake.faces`` raises."""
        faces = self._intake.faces(
            app, source, limit=max_faces, fields=fields, controls=controls, skip_failing=True, order=order
        )
        self._intake.remember(app, faces)
        return faces
