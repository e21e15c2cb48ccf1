"""Bytes of a video file to frames and loudness: the one place where untrusted bytes meet a demuxer.

The container format is recognised by its first bytes, and FFmpeg is told which demuxer to use, so that formats that
open other files or addresses (playlists, concatenations) cannot be reached. FFmpeg reads from memory and may open
nothing else. Opening a video decodes nothing. The pieces of a packet are counted before it is decoded, since a decoder
cannot be stopped within a packet.
"""

from __future__ import annotations

import io
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import av
import av.error
import numpy as np
from numpy.typing import NDArray

from service.errors import VideoDamaged, VideoTooLarge, VideoUnreadable
from service.images import ffmpeg
from service.images.pieces import too_many_pieces
from service.values import Image

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame
    from av.audio.stream import AudioStream
    from av.codec.context import CodecContext
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

LONGER_SIDE = 720
"""Pixels: frames are shrunk to it, which is what recording for such a check is advised to have."""

SAMPLES_PER_SECOND = 12.0
"""Frames that are looked at. A blink closes the eyes for 0.1 to 0.4 s (Schiffman 2001), so it is seen at least once."""

LEAST_SECONDS = 0.8
"""What is shorter is a picture and no video."""

SOUND_RATE = 8000
SOUND_WINDOW = 400
"""Samples over which loudness is averaged: 0.05 s, a third of the shortest syllable."""

AUDIBLE = 10 ** (-45 / 20)
"""Root mean square over full scale, -45 dBFS: speech before a phone lies 15 dB and more above, a silent room below."""

_FRAMES_PER_SECOND = 65
_MOST_STREAMS = 8
_USUAL_RATE = 25.0

_CODECS = frozenset({"h264", "hevc", "vp8", "vp9", "av1", "libdav1d", "mpeg4", "h263", "mjpeg"})
"""What phones and browsers record with; FFmpeg's several hundred others have no business here."""

_SOUND_CODECS = ("aac", "opus", "libopus", "vorbis", "mp3", "pcm_", "amrnb", "amrwb")

_QUARTERS = 4

ffmpeg.restrain()


@dataclass(frozen=True, slots=True)
class VideoLimits:
    """How much of a video is taken and decoded.

    ``size``: bytes of the file; ``pixels``: of one frame; ``work``: seconds that decoding itself may take.
    """

    size: int = 20 * 2**20
    seconds: float = 20.0
    pixels: int = 2560 * 1920
    work: float = 20.0

    @property
    def frames(self) -> int:
        """Frames that may be decoded."""
        return math.ceil(self.seconds * _FRAMES_PER_SECOND)


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One sampled frame, upright, and when it is shown: seconds from the first one."""

    seconds: float
    image: Image


class Video:
    """One video. ``frames`` can be read once; what concerns the sound is known when they have been read."""

    def __init__(self, data: bytes, limits: VideoLimits) -> None:
        """Raises ``VideoUnreadable`` for bytes of no known container; nothing else is looked at yet."""
        self._data = data
        self._demuxer = demuxer_of(data)
        self._limits = limits
        self._loudness = _Loudness(limits.seconds)
        self._work = 0.0
        self._broken = False

    @property
    def audible_seconds(self) -> float:
        """How long there was something to hear; 0 without sound."""
        return self._loudness.audible_seconds

    def frames(self) -> Iterator[Frame]:
        """Frames at ``SAMPLES_PER_SECOND`` or slower, shrunk to ``LONGER_SIDE``, phone rotation undone.

        Raises ``VideoUnreadable`` (no moving picture, an unknown codec, too short), ``VideoTooLarge`` (seconds, frames,
        pixels), ``VideoDamaged`` (undecodable before ``LEAST_SECONDS``, or slow to decode).
        """
        shown = 0.0
        with self._opened() as container:
            stream = self._stream(container)
            clock = _Clock(float(stream.average_rate or _USUAL_RATE))
            for count, frame in enumerate(self._decoded(container, stream), start=1):
                shown = clock.read(frame)
                if count > self._limits.frames or shown > self._limits.seconds:
                    raise VideoTooLarge(f"more than {self._limits.seconds:g} s or {self._limits.frames} frames")
                if clock.due(shown):
                    yield Frame(shown, self._timed(_upright, frame))
        if shown < LEAST_SECONDS and self._broken:
            raise VideoDamaged("nothing can be decoded, or less than a second")
        if shown < LEAST_SECONDS:
            raise VideoUnreadable("shows less than a second")

    @contextmanager
    def _opened(self) -> Iterator[InputContainer]:
        options = {
            "max_pixels": str(self._limits.pixels),
            "max_streams": str(_MOST_STREAMS),
            # Or it decodes the beginnings of all streams, whatever their codecs, before anybody can look at them.
            "codec_whitelist": "none",
            "protocol_whitelist": "none",
            "threads": "1",
            **({"enable_drefs": "0"} if self._demuxer == "mov" else {}),
        }
        started = time.perf_counter()
        try:
            container = av.open(io.BytesIO(self._data), "r", format=self._demuxer, options=options)
        except (av.error.FFmpegError, ValueError, OverflowError, MemoryError):
            raise VideoUnreadable("the container is damaged") from None
        self._work += time.perf_counter() - started
        try:
            yield container
        finally:
            container.close()

    def _stream(self, container: InputContainer) -> VideoStream:
        if not container.streams.video:
            raise VideoUnreadable("there is no moving picture in it")
        stream = container.streams.video[0]
        codec = _codec(stream)
        if codec is None or codec.name not in _CODECS:
            raise VideoUnreadable("the codec is not supported")
        if stream.codec_context.width * stream.codec_context.height > self._limits.pixels:
            raise VideoTooLarge(f"frames of more than {self._limits.pixels} pixels")
        stream.codec_context.thread_count = 1
        stream.codec_context.options = {"max_pixels": str(self._limits.pixels)}
        return stream

    def _decoded(self, container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
        """Every frame of the stream; the sound beside it is listened to on the way.

        What follows damage is left alone: a recording that was cut off while uploading still shows its beginning.
        """
        audio = next((each for each in container.streams.audio if _is_sound(each)), None)
        packets = container.demux(*([stream] if audio is None else [stream, audio]))
        listening = True
        while True:
            packet: Packet[Any] | None = None
            try:
                packet = self._timed(next, packets, None)
                if packet is None:
                    return
                if packet.stream is not stream and not listening:
                    continue
                if packet.stream is stream and too_many_pieces(stream.codec_context.name, memoryview(packet)):
                    raise VideoDamaged("a packet is in too many pieces")
                frames: list[Any] = self._timed(packet.decode)
                if packet.stream is not stream:
                    for frame in frames:
                        self._timed(self._loudness.hear, frame)
                    continue
            except av.error.EOFError:
                return
            except (av.error.FFmpegError, ValueError, OverflowError, MemoryError):
                if packet is not None and packet.stream is not stream:
                    listening = False
                    continue
                self._broken = True
                return
            yield from frames

    def _timed(self, work: Any, *arguments: Any) -> Any:
        """Do a piece of the decoding's own work; whoever takes the frames may take longer."""
        started = time.perf_counter()
        try:
            return work(*arguments)
        finally:
            self._work += time.perf_counter() - started
            if self._work > self._limits.work:
                raise VideoDamaged(f"decoding takes more than {self._limits.work:g} s")


class _Clock:
    """When frames are shown, and which of them are looked at. Times that are missing or run backwards are made up."""

    def __init__(self, rate: float) -> None:
        self._step = 1 / min(max(rate, 1.0), float(_FRAMES_PER_SECOND))
        self._start: float | None = None
        self._last = -self._step
        self._next = 0.0

    def read(self, frame: VideoFrame) -> float:
        shown = self._last + self._step
        if frame.pts is not None and frame.time_base is not None:
            told = float(frame.pts * frame.time_base)
            if self._start is None:
                self._start = told - shown
            if told - self._start > self._last:
                shown = told - self._start
        self._last = shown
        return shown

    def due(self, shown: float) -> bool:
        if shown < self._next - 1e-6:
            return False
        self._next = max(self._next + 1 / SAMPLES_PER_SECOND, shown + 0.5 / SAMPLES_PER_SECOND)
        return True


class _Loudness:
    """How long a sound track is audible."""

    def __init__(self, seconds: float) -> None:
        self._resampler = av.AudioResampler(format="s16", layout="mono", rate=SOUND_RATE)
        self._left = int(seconds * SOUND_RATE)
        self._rest: NDArray[np.float32] = np.zeros(0, np.float32)
        self._audible = 0

    @property
    def audible_seconds(self) -> float:
        return self._audible * SOUND_WINDOW / SOUND_RATE

    def hear(self, frame: AudioFrame) -> None:
        if self._left <= 0:
            return
        for part in self._resampler.resample(frame):
            samples = part.to_ndarray().ravel()[: self._left].astype(np.float32) / np.float32(32768)
            self._left -= len(samples)
            samples = np.concatenate([self._rest, samples])
            whole = len(samples) // SOUND_WINDOW * SOUND_WINDOW
            windows = samples[:whole].reshape(-1, SOUND_WINDOW)
            self._audible += int((np.sqrt((windows**2).mean(axis=1)) >= AUDIBLE).sum())
            self._rest = samples[whole:]


def demuxer_of(data: bytes) -> str:
    """FFmpeg's name of the container by its first bytes. Raises ``VideoUnreadable`` for all that is not listed here.

    MP4, MOV and 3GP (ISO 14496-12), WebM and Matroska (RFC 9559), AVI (RIFF), FLV.
    """
    if data[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
        return "mov"
    if data.startswith(b"\x1a\x45\xdf\xa3"):
        return "matroska"
    if data.startswith(b"RIFF") and data[8:12] == b"AVI ":
        return "avi"
    if data.startswith(b"FLV\x01"):
        return "flv"
    raise VideoUnreadable("not MP4, MOV, 3GP, WebM, Matroska, AVI or FLV")


def _codec(stream: VideoStream | AudioStream) -> CodecContext | None:
    """The stream's decoder; ``None``, which PyAV's types do not tell of, when FFmpeg knows none."""
    return cast("CodecContext | None", stream.codec_context)


def _is_sound(stream: AudioStream) -> bool:
    codec = _codec(stream)
    return codec is not None and codec.name.startswith(_SOUND_CODECS)


def _upright(frame: VideoFrame) -> Image:
    """The frame as BGR, shrunk, turned as the phone that recorded it says."""
    zoom = min(1.0, LONGER_SIDE / max(frame.width, frame.height))
    size = (max(2, round(frame.width * zoom)), max(2, round(frame.height * zoom)))
    try:
        pixels = frame.reformat(width=size[0], height=size[1], format="bgr24").to_ndarray()
    except (av.error.FFmpegError, ValueError, MemoryError):
        raise VideoDamaged("a frame cannot be converted") from None
    turns = round(frame.rotation / 90)  # degrees counter-clockwise, by where the matrix takes a row
    if _mirrored(frame):
        # A row that runs the other way, as in a front camera's recording, is no picture that stands on its head.
        pixels, turns = pixels[:, ::-1], turns + 2
    return np.ascontiguousarray(np.rot90(pixels, turns % _QUARTERS), dtype=np.uint8)


def _mirrored(frame: VideoFrame) -> bool:
    """Whether the matrix by which the frame is to be shown mirrors it, besides turning it.

    Source: libavutil's ``display.h``: nine integers in the machine's order, of which two by two turn and mirror.
    """
    matrix: Any = frame.side_data.get("DISPLAYMATRIX")  # a buffer, which its type does not tell
    if matrix is None:
        return False
    (a, b), (c, d) = np.frombuffer(matrix, np.int32).reshape(3, 3)[:2, :2].astype(np.float64)
    return bool(a * d < b * c)
