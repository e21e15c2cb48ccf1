"""Reference pictures: what recognition makes of them, and whether they are fit to be compared with."""

from __future__ import annotations

from typing import Protocol

from service.errors import FaceNotFound, PictureError, ReferencePicturePoor
from service.identity.register import ReferencePicture
from service.intake.seen import SeenFace


class Looker(Protocol):
    """The part of the intake that reference pictures need; see ``service.intake.intake.Intake``."""

    @property
    def model_id(self) -> str:
        """Names the weights that embeddings come from."""
        ...

    def reference(self, picture: bytes) -> SeenFace:
        """The largest face of a picture, embedded."""
        ...


def describe(looker: Looker, picture: bytes, *, keep_portrait: bool) -> ReferencePicture:
    """What is kept of a picture file. Raises ``ReferencePicturePoor``, and ``Overloaded`` when too much is going on."""
    try:
        face = looker.reference(picture)
    except FaceNotFound:
        raise ReferencePicturePoor("no face was found in the picture") from None
    except PictureError as error:
        raise ReferencePicturePoor(str(error) or "the picture cannot be read") from None
    return ReferencePicture(looker.model_id, face.embedding, face.stored.portrait if keep_portrait else None)
