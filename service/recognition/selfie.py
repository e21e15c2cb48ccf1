"""Whether the person whose liveness was recorded is the one of a selfie."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from service.errors import FaceNotFound, VideoTooLarge
from service.images import gif
from service.images.video import Video, VideoLimits
from service.intake.intake import Admission, Intake
from service.intake.seen import encode_jpeg
from service.recognition.compare import CompareFaces, Probe
from service.recognition.liveness import liveness_of
from service.values import App, FaceField, ImageKind, ImageSource

FRAMES_OF_A_VIDEO = 8


@dataclass(frozen=True, slots=True)
class LiveFrame:
    """A frame as it was sent, and the served liveness score 0..1 of its largest face."""

    data: bytes
    score: float


class Opener(Protocol):
    """Opens what a device encrypted for its app; ``service.access.sealed_data`` is the one in use."""

    def recognises(self, data: bytes) -> bool:
        """Whether this has the form of encrypted data."""
        ...

    def open(self, app: App, data: bytes) -> bytes:
        """The plaintext. Raises ``ValueError`` with a sentence."""
        ...


class VerifySelfie:
    """Liveness of recorded frames and comparison of the best one with a selfie, step by step.

    The steps are apart so that a caller can tell which of the pictures it was that failed.
    """

    def __init__(
        self,
        intake: Intake,
        compare: CompareFaces,
        download: Callable[[str], bytes],
        admission: Admission,
        opener: Opener,
        video_limits: VideoLimits,
    ) -> None:
        self._intake = intake
        self._compare = compare
        self._download = download
        self._admission = admission
        self._opener = opener
        self._video_limits = video_limits

    def fetch(self, url: str) -> bytes:
        """The bytes behind an address. Raises ``PictureDownloadFailed``, ``ParameterMalformed`` for no address."""
        return self._download(url)

    def opened(self, app: App, recorded: bytes) -> bytes:
        """Recorded data in plain, whether it came encrypted or not. Raises ``ValueError`` with a sentence."""
        return self._opener.open(app, recorded) if self._opener.recognises(recorded) else recorded

    def still(self, selfie: bytes) -> bytes:
        """The selfie as a format that the rest of the service reads: of a GIF the first picture, else unchanged.

        Raises ``PictureUnreadable`` for a damaged GIF, ``Overloaded`` when too many pictures wait to be decoded.
        """
        if not gif.is_gif(selfie):
            return selfie
        with self._admission.permit():
            return gif.first_picture(selfie)

    def frames(self, video: bytes) -> list[bytes]:
        """At most ``FRAMES_OF_A_VIDEO`` JPEG files, spread over the video. Raises a ``VideoError``, ``Overloaded``."""
        if len(video) > self._video_limits.size:
            raise VideoTooLarge(f"more than {self._video_limits.size} bytes")
        with self._admission.permit():
            kept: list[bytes] = []
            step = 1
            for count, frame in enumerate(Video(video, self._video_limits).frames()):
                if count % step:
                    continue
                kept.append(encode_jpeg(frame.image))
                if len(kept) == 2 * FRAMES_OF_A_VIDEO:  # how long it is shows only at its end: thin out on the way
                    kept, step = kept[::2], step * 2
        chosen = np.linspace(0, len(kept) - 1, min(len(kept), FRAMES_OF_A_VIDEO)).round().astype(int)
        return [kept[index] for index in chosen]

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
            score = liveness_of(face)
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
