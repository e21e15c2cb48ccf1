"""From what a caller sent to faces with tokens: fetch, decode, detect, remember."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol, TypeVar

from service import beside
from service.access.keys import Keyring
from service.errors import FaceNotFound, FaceTokenNotFound, ServiceUnavailable
from service.images.decode import Picture, decode_picture
from service.images.inline import decode_base64
from service.inference.geometry import enlarged, in_their_place
from service.inference.picture_kinds import ALTERED, prepare
from service.intake import seen
from service.intake.controls import NO_CONTROLS, Controls
from service.intake.memory import FaceMemory
from service.intake.order import FaceOrder, nearest_first
from service.intake.report import Reporter
from service.intake.seen import FaceEngine, SeenFace
from service.values import App, Embedding, Face, FaceField, Image, ImageKind, ImageSource, PictureType

MOST_FACES = 10
"""Faces looked at when some may fail the controls; the API never asks for more."""

MOST_FACES_IN_SIGHT = 100
"""Faces among which the one nearest to the centre is sought: the largest of a crowd, so that the search ends."""

R = TypeVar("R")

LEAST_SKETCHED_SIDE = 160.0
"""Pixels: a face whose box in a sketch has at least this side is taken from the sketch instead of the full picture,
since aligned crops, outlines and portraits have fewer pixels than that."""


def nowhere(model_id: str) -> None:
    """A ``by_model`` for processes that have loaded a single model: finds nothing."""
    del model_id


class Admission(Protocol):
    """Bounded admission in front of the processor-heavy part; see ``service.inference.admission``."""

    def permit(self) -> AbstractContextManager[object]:
        """Wait for a turn, or raise ``Overloaded``."""
        ...

    @property
    def undisturbed(self) -> bool:
        """Whether nobody else has come since the request at hand got its first permit."""
        ...

    def side_by_side(self) -> AbstractContextManager[object]:
        """Let other threads do what the block offers, while there are turns to spare."""
        ...


@dataclass(frozen=True, slots=True)
class _Ask:
    """What ``Intake.faces`` was asked for."""

    limit: int
    embed: bool
    fields: frozenset[FaceField]
    controls: Controls
    skip_failing: bool
    order: FaceOrder

    @property
    def examines(self) -> bool:
        """Whether anything is to be computed of a face besides where it is."""
        return self.embed or bool(self.fields) or self.controls.any

    @property
    def candidates(self) -> int:
        """How many faces to look for: more than are wanted where some may be skipped."""
        return MOST_FACES if self.skip_failing and self.controls.any else self.limit


class Intake:
    """Turns an ``ImageSource`` into ``SeenFace`` values and remembers them under their tokens.

    Decoding, detection and embedding run inside one permit, so that at most as many pictures are worked on as there
    are processors. Downloading and the database stay outside of it, and so does the portrait of a request that was the
    only one. Without a ``reporter`` (packs without the networks for it) only the geometry of a face is known, and
    controls cannot be checked.
    """

    def __init__(
        self,
        *,
        engine: FaceEngine,
        reporter: Reporter | None,
        admission: Admission,
        memory: FaceMemory,
        keyring: Keyring,
        download: Callable[[str], bytes],
        max_picture_bytes: int,
        max_picture_pixels: int,
    ) -> None:
        self._engine = engine
        self._reporter = reporter
        self._admission = admission
        self._memory = memory
        self._keyring = keyring
        self._download = download
        self._max_picture_bytes = max_picture_bytes
        self._max_picture_pixels = max_picture_pixels

    @property
    def model_id(self) -> str:
        """Names the weights that embeddings come from."""
        return self._engine.model_id

    def faces(
        self,
        app: App,
        source: ImageSource,
        *,
        limit: int = 1,
        embed: bool = False,
        fields: frozenset[FaceField] = frozenset(),
        controls: Controls = NO_CONTROLS,
        skip_failing: bool = False,
        order: FaceOrder = FaceOrder.AREA,
        meanwhile: Callable[[], object] | None = None,
    ) -> list[SeenFace]:
        """Find at most ``limit`` faces, the first by ``order``; read ``fields`` off each and, with ``embed``, embed it.

        ``meanwhile`` is run in another thread during the work on the picture, where a permit is free for that. It takes
        no permit itself and must not raise.

        A face that fails the controls ends the search, or with ``skip_failing`` makes room for the next one. Raises
        ``FaceNotFound`` for a picture without a face, ``FaceTokenNotFound`` for an unknown token, a ``FaceRejected``
        (with ``skip_failing`` only when no face passes), and the picture and parameter errors of the image room.
        """
        ask = _Ask(limit, embed, fields, controls, skip_failing, order)
        if source.kind is ImageKind.FACE_TOKEN:
            face = self._recall(app, str(source.text))
            if embed and face.known_embedding is not None and not fields and not controls.any:
                return [face]
            with self._admission.permit():
                return self._examined([face], ask)
        data = self._bytes(source)
        with self._admission.side_by_side():
            if meanwhile is not None:
                beside.offer(meanwhile)
            with self._admission.permit():
                return self._look(app, data, source.picture_type, ask)

    def side_by_side(self, looks: Sequence[Callable[[], R]]) -> list[R]:
        """The results of ``looks`` at several pictures of one request, in their order.

        Each look takes its own permit; they run in parallel while permits are free. Raises what the first failing one
        raises.
        """
        with self._admission.side_by_side():
            return beside.together(looks)

    def face_of_file(self, app: App, data: bytes, *, fields: frozenset[FaceField] = frozenset()) -> SeenFace:
        """The largest face of a picture's file; for a caller that bounds its own work.

        Its embedding is made when it is asked for. Raises ``FaceNotFound``, ``PictureUnreadable``.
        """
        ask = _Ask(1, embed=False, fields=fields, controls=NO_CONTROLS, skip_failing=False, order=FaceOrder.AREA)
        return self._look(app, data, PictureType.LIVE, ask)[0]

    def _look(self, app: App, data: bytes, kind: PictureType, ask: _Ask) -> list[SeenFace]:
        picture = Picture(data, self._max_picture_pixels)
        candidates = self._found(app, data, picture, kind, ask)
        portraits = {face.token: beside.offer(face.make_stored) for face in candidates[: ask.limit] if ask.examines}
        faces = self._examined(candidates, ask)
        for face in faces:
            portrait = portraits.get(face.token)
            if portrait is not None and portrait.begun:
                face.stored = portrait.take()
            elif not self._admission.undisturbed:  # else it is made later, behind the answer if the server is idle
                face.stored = face.make_stored()
        return faces

    def _found(self, app: App, data: bytes, picture: Picture, kind: PictureType, ask: _Ask) -> list[SeenFace]:
        """The candidates among the faces of a picture; raises ``FaceNotFound`` when there are none.

        A large face of a large picture is always located in the picture's sketch, so that its token depends on the
        picture alone. A picture whose sketch suffices is not decoded in full.
        """
        large: list[Face] = []
        if kind not in ALTERED and (sketch := picture.sketch) is not None:
            seen_first, settled = self._engine.prominent(sketch.image, ask.candidates)
            first = seen_first[: ask.candidates]
            enough = settled and all(_is_large(face) for face in first) and ask.order is FaceOrder.AREA
            if enough and not ask.fields and not ask.controls.any:
                return [self._wrap(app, data, sketch.image, face, factor=sketch.factor) for face in first]
            large = [enlarged(face, sketch.factor) for face in seen_first if _is_large(face)]
            if enough:
                return [self._wrap(app, data, picture.full, face) for face in large[: ask.candidates]]
        image = picture.full
        prepared = prepare(image, kind)
        if ask.order is FaceOrder.CENTRE:
            found = nearest_first(self._engine.detect(prepared, MOST_FACES_IN_SIGHT), image)[: ask.candidates]
        else:
            found = self._engine.detect(prepared, ask.candidates)
        if not found:
            raise FaceNotFound
        return [self._wrap(app, data, image, face, prepared) for face in in_their_place(found, large)]

    def _wrap(
        self, app: App, data: bytes, image: Image, face: Face, prepared: Image | None = None, factor: int = 1
    ) -> SeenFace:
        token = self._token(app, data, face if factor == 1 else enlarged(face, factor))
        return seen.found(self._engine, image, face, token, prepared, factor)

    def _examined(self, faces: Sequence[SeenFace], ask: _Ask) -> list[SeenFace]:
        """The faces that pass, examined and embedded."""
        passed: list[SeenFace] = []
        for face in faces:
            if len(passed) == ask.limit:
                break
            if self._reporter is not None:
                face.examine(self._reporter, ask.fields, ask.controls)
            elif ask.controls.any:  # letting every face pass would be the worst answer
                raise ServiceUnavailable("this pack brings nothing to check quality or liveness with")
            if face.report.rejection is None:
                passed.append(face)
            elif not ask.skip_failing:
                raise face.report.rejection
        if not passed:
            raise faces[0].report.rejection or FaceNotFound
        if ask.embed:
            for face in passed:
                _ = face.embedding
        return passed

    def remember(self, app: App, faces: Sequence[SeenFace]) -> None:
        """Keep the faces for a while, so that their tokens work as pictures from this moment, in every process."""
        self._memory.remember(app, faces, self.model_id)

    def embedding(self, face: SeenFace) -> Embedding:
        """``(dimension,)`` float32 of unit length, by this intake's model, of a face that any intake's ``faces`` gave.

        Raises ``Overloaded``.
        """
        if face.embedded_by(self.model_id):
            return face.embedding_by(self._engine)
        with self._admission.permit():
            return face.embedding_by(self._engine)

    def reference(self, picture: bytes) -> SeenFace:
        """The largest face of a picture that no app sent: embedded, with its portrait, without a token.

        Raises ``PictureUnreadable``, ``FaceNotFound``, ``Overloaded``.
        """
        with self._admission.permit():
            image = decode_picture(picture, self._max_picture_pixels)
            found = self._engine.detect(image, 1)
            if not found:
                raise FaceNotFound
            face = seen.found(self._engine, image, found[0], token="")
            _ = face.embedding, face.stored
        return face

    def _bytes(self, source: ImageSource) -> bytes:
        if source.kind is ImageKind.URL:
            return self._download(str(source.text))
        return decode_base64(source.text, self._max_picture_bytes)

    def _token(self, app: App, data: bytes, face: Face) -> str:
        """Same app, same picture, same face: same token. The box comes from one fixed pyramid level per face."""
        return self._keyring.face_token(app.app_id, hashlib.sha256(data).digest(), tuple(map(round, face.box)))

    def _recall(self, app: App, token: str) -> SeenFace:
        known = self._memory.recall(app, token, self.model_id)
        if known is None:
            raise FaceTokenNotFound(token)
        face = seen.remembered(self._engine, known.face, known.embedding)
        if known.embedding is not None:
            face.embedding = known.embedding
        return face


def _is_large(face: Face) -> bool:
    return min(face.box[2:]) >= LEAST_SKETCHED_SIDE
