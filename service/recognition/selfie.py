"""Whether the person whose liveness was recorded is the one of a selfie."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from service.errors import FaceNotFound, ServiceUnavailable
from service.intake.intake import Intake
from service.recognition.compare import CompareFaces, Probe
from service.values import App, FaceField, ImageKind, ImageSource


@dataclass(frozen=True, slots=True)
class LiveFrame:
    """A frame as it was sent, and the served liveness score 0..1 of its largest face."""

    data: bytes
    score: float


class VerifySelfie:
    """Liveness of recorded frames and comparison of the best one with a selfie, step by step.

    The steps are apart so that a caller can tell which of the pictures it was that failed.
    """

    def __init__(self, intake: Intake, compare: CompareFaces, download: Callable[[str], bytes]) -> None:
        self._intake = intake
        self._compare = compare
        self._download = download

    def fetch(self, url: str) -> bytes:
        """The bytes behind an address. Raises ``PictureDownloadFailed``, ``ParameterMalformed`` for no address."""
        return self._download(url)

    def liveliest(self, app: App, frames: Sequence[bytes]) -> LiveFrame:
        """The frame that looks most alive; frames without a face do not count.

        Raises ``FaceNotFound`` when none has a face, ``PictureUnreadable`` for one that is no picture, and
        ``ServiceUnavailable`` with a pack that brings no networks for liveness.
        """
        best: LiveFrame | None = None
        for frame in frames:
            try:
                face = self._intake.faces(app, _source(frame), fields=frozenset({FaceField.LIVENESS}))[0]
            except FaceNotFound:
                continue
            score = face.report.liveness
            if score is None:
                raise ServiceUnavailable("this pack brings nothing to tell liveness with")
            if best is None or score > best.score:
                best = LiveFrame(frame, score)
        if best is None:
            raise FaceNotFound
        return best

    def score(self, app: App, selfie: bytes, frame: LiveFrame) -> float:
        """0..100 as ``CompareFaces`` has it. Raises what concerns the selfie: the frame has been looked at before."""
        return self._compare(app, [Probe(_source(selfie)), Probe(_source(frame.data))]).score


def _source(data: bytes) -> ImageSource:
    return ImageSource(ImageKind.BASE64, base64.b64encode(data).decode())
