"""Videos of every kind that is taken, and everything that a hostile caller may send instead."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable, Iterator

import av
import cv2
import numpy as np
import pytest

from service.errors import VideoDamaged, VideoError, VideoTooLarge, VideoUnreadable
from service.images.video import LONGER_SIDE, SAMPLES_PER_SECOND, Frame, Video, VideoLimits
from service.values import Image
from tests.fixtures.videos import encode, tone

LIMITS = VideoLimits(seconds=4.0, pixels=1280 * 1024, work=10.0)


def gradient(width: int = 96, height: int = 64) -> Image:
    """Dark on the left, bright on the right."""
    return np.repeat(np.tile(np.linspace(0, 255, width, dtype=np.uint8), (height, 1))[..., np.newaxis], 3, axis=2)


def images(count: int, width: int = 96, height: int = 64) -> list[Image]:
    return [gradient(width, height)] * count


def frames(data: bytes, limits: VideoLimits = LIMITS) -> list[Frame]:
    return list(Video(data, limits).frames())


@pytest.mark.parametrize(
    ("container", "codec", "sound_codec"),
    [
        ("mp4", "libx264", "aac"),
        ("mov", "libx264", "aac"),
        ("3gp", "mpeg4", "aac"),
        ("webm", "libvpx", "libopus"),
        ("webm", "libvpx-vp9", "libopus"),
        ("matroska", "libx264", "aac"),
        ("avi", "mjpeg", "pcm_s16le"),
        ("flv", "libx264", "aac"),
    ],
)
def test_containers_of_phones_and_browsers_are_read(container: str, codec: str, sound_codec: str) -> None:
    sound = tone(2, loud=[(0.5, 1.3)])
    video = Video(encode(images(30), sound=sound, container=container, codec=codec, sound_codec=sound_codec), LIMITS)
    read = list(video.frames())
    seconds = [frame.seconds for frame in read]
    assert seconds[0] == 0
    assert seconds[-1] == pytest.approx(29 / 15, abs=0.1)
    assert 2 * SAMPLES_PER_SECOND * 0.8 <= len(read) <= 2 * SAMPLES_PER_SECOND + 1
    assert np.abs(read[5].image.astype(int) - gradient()).mean() < 12
    assert video.audible_seconds == pytest.approx(0.8, abs=0.15)


def test_without_sound_nothing_is_audible() -> None:
    video = Video(encode(images(15), sound=tone(1, loud=[])), LIMITS)
    list(video.frames())
    assert video.audible_seconds == 0
    video = Video(encode(images(15)), LIMITS)
    list(video.frames())
    assert video.audible_seconds == 0


def test_fast_recordings_are_thinned_out_and_slow_ones_taken_whole() -> None:
    assert len(frames(encode(images(120), rate=60))) == pytest.approx(2 * SAMPLES_PER_SECOND, abs=1)
    assert len(frames(encode(images(10), rate=5))) == 10


def test_large_frames_are_shrunk() -> None:
    read = frames(encode(images(15, 1280, 720)))
    assert max(read[0].image.shape) == LONGER_SIDE


def shown_by(data: bytes, a: int, b: int, c: int, d: int) -> bytes:
    """The recording, to be shown with what is stored at ``(x, y)`` at ``(a x + c y, b x + d y)``."""
    place = data.index(b"tkhd") + 44
    # 16.16 fixed point, as ISO 14496-12 (8.3.2) has the matrix: the last column is 2.30.
    matrix = struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    return data[:place] + matrix + data[place + len(matrix) :]


def test_a_phone_s_rotation_is_undone() -> None:
    (first, *_) = frames(shown_by(encode(images(15), container="mov"), 0, 1, -1, 0))
    assert first.image.shape == (96, 64, 3)
    # Shown turned by a quarter clockwise: what was dark on the left is now on top.
    assert first.image[:10].mean() < 40
    assert first.image[-10:].mean() > 215


@pytest.mark.parametrize(
    "matrix", [(a, 0, 0, d) for a in (1, -1) for d in (1, -1)] + [(0, b, c, 0) for b in (1, -1) for c in (1, -1)]
)
def test_what_a_front_camera_mirrors_is_shown_as_it_says(matrix: tuple[int, int, int, int]) -> None:
    a, b, c, d = matrix
    quarters = {(-1, -1): 250, (1, -1): 170, (-1, 1): 90, (1, 1): 10}  # by the side of the middle that x and y lie on
    stored = np.array([[250, 170], [90, 10]], np.uint8).repeat(32, axis=0).repeat(48, axis=1)
    recording = encode([np.repeat(stored[..., np.newaxis], 3, axis=2)] * 15)
    (first, *_) = frames(shown_by(recording, *matrix))
    height, width = first.image.shape[:2]
    for (x, y), value in quarters.items():
        right, below = (a * x + c * y) > 0, (b * x + d * y) > 0
        place = first.image[height // 4 + height // 2 * below, width // 4 + width // 2 * right]
        assert place.mean() == pytest.approx(value, abs=10)


def changing_sizes() -> bytes:
    """Two recordings of different sizes, one after the other, as a raw stream in one AVI would hold them."""
    small, large = (encode(images(12, *size), container="avi", codec="mjpeg") for size in ((96, 64), (160, 120)))
    pictures = [jpeg for data in (small, large) for jpeg in _jpegs(data)]
    return avi(pictures)


def _jpegs(data: bytes) -> list[bytes]:
    starts = [index for index in range(len(data)) if data.startswith(b"\xff\xd8\xff", index)]
    return [data[start : data.index(b"\xff\xd9", start) + 2] for start in starts]


def avi(pictures: list[bytes]) -> bytes:
    """The first recording's headers with these pictures as frames; the index is left out."""
    header = encode(images(12), container="avi", codec="mjpeg")
    head = header[: header.index(b"movi") + 4]
    padded = [picture + b"\0" * (len(picture) % 2) for picture in pictures]
    return head + b"".join(b"00dc" + struct.pack("<I", len(picture)) + picture for picture in padded)


def test_frames_may_change_their_size() -> None:
    shapes = {frame.image.shape[:2] for frame in frames(changing_sizes())}
    assert shapes == {(64, 96), (120, 160)}


# --- what is no video -------------------------------------------------------------------------------------------------


def png() -> bytes:
    done, data = cv2.imencode(".png", gradient())
    assert done
    return data.tobytes()


PLAYLISTS: dict[str, bytes] = {
    "hls": b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n",
    "concat": b"ffconcat version 1.0\nfile '/etc/passwd'\n",
    "dash": b'<?xml version="1.0"?><MPD type="static"><BaseURL>http://127.0.0.1/</BaseURL></MPD>',
    "sdp": b"v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n",
}


@pytest.mark.parametrize("data", [*PLAYLISTS.values(), b"", b"\0" * 4096, b"GIF89a", png()], ids=lambda data: data[:8])
def test_other_files_are_refused_by_their_first_bytes(data: bytes) -> None:
    with pytest.raises(VideoUnreadable):
        Video(data, LIMITS)


@pytest.mark.parametrize("start", [b"\0\0\0\x18ftypmp42", b"\x1a\x45\xdf\xa3", b"RIFF\0\0\0\0AVI ", b"FLV\x01"])
@pytest.mark.parametrize("rest", [PLAYLISTS["hls"], b"", b"\0" * 4096, b"\xff" * 4096])
def test_a_playlist_behind_a_video_s_first_bytes_is_read_by_no_other_demuxer(start: bytes, rest: bytes) -> None:
    with pytest.raises(VideoError):
        frames(start + rest)


def sound_alone() -> bytes:
    return encode([], sound=tone(2, loud=[(0, 2)]))


@pytest.mark.parametrize("make", [sound_alone, lambda: encode(images(1)), lambda: encode(images(8))])
def test_no_moving_picture_is_no_video(make: Callable[[], bytes]) -> None:
    with pytest.raises(VideoUnreadable):
        frames(make())


def test_a_codec_that_nobody_records_with_is_refused() -> None:
    with pytest.raises(VideoUnreadable, match="codec"):
        frames(encode(images(15), container="avi", codec="ffv1"))


# --- what is too much -------------------------------------------------------------------------------------------------


def test_a_video_that_is_too_long_is_refused() -> None:
    with pytest.raises(VideoTooLarge):
        frames(encode(images(70)))


def test_ten_thousand_frames_are_not_decoded() -> None:
    read = Video(encode(images(2000, 32, 32), codec="mpeg4", rate=1000), VideoLimits(seconds=1.5))
    taken: list[Frame] = []
    with pytest.raises(VideoTooLarge):
        taken.extend(read.frames())


@pytest.mark.parametrize(("container", "codec"), [("avi", "mjpeg"), ("mp4", "libx264"), ("webm", "libvpx")])
def test_huge_frames_are_not_decoded(container: str, codec: str) -> None:
    with pytest.raises(VideoError):
        frames(encode(images(3, 1300, 1300), container=container, codec=codec))


def test_a_size_that_the_header_understates_is_found_out() -> None:
    data = encode(images(3, 2048, 2048))
    with pytest.raises(VideoError):
        frames(data.replace(struct.pack(">HH", 2048, 2048), struct.pack(">HH", 64, 64)))


def test_a_size_that_the_header_overstates_costs_nothing() -> None:
    data = encode(images(15))
    with_luck = data.replace(struct.pack(">HH", 96, 64), struct.pack(">HH", 65535, 65535))
    with contextlib.suppress(VideoError):
        assert {frame.image.shape for frame in frames(with_luck)} == {(64, 96, 3)}


def test_slow_decoding_ends() -> None:
    with pytest.raises(VideoDamaged):
        frames(encode(images(30)), VideoLimits(work=0.0))


# --- what is damaged --------------------------------------------------------------------------------------------------


def damaged(data: bytes) -> Iterator[bytes]:
    noise = np.random.default_rng(5)
    for share in (0.0, 0.01, 0.3, 0.6, 0.9, 0.99):
        yield data[: int(share * len(data))]
    for _ in range(20):
        wrong = np.frombuffer(data, np.uint8).copy()
        places = noise.integers(0, len(wrong), 40)
        wrong[places] = noise.integers(0, 256, len(places))
        yield wrong.tobytes()


@pytest.mark.parametrize(("container", "codec"), [("mp4", "libx264"), ("webm", "libvpx"), ("avi", "mjpeg")])
def test_damage_ends_in_frames_or_in_a_video_error(container: str, codec: str) -> None:
    sound_codec = "libopus" if container == "webm" else "aac"
    data = encode(images(20), sound=tone(1.3, loud=[(0, 1)]), container=container, codec=codec, sound_codec=sound_codec)
    outcomes = set()
    for wrong in damaged(data):
        try:
            outcomes.add(bool(frames(wrong)))
        except VideoError:
            outcomes.add(False)
    assert outcomes <= {True, False}


def test_a_recording_that_was_cut_off_shows_its_beginning() -> None:
    data = encode(images(45), container="webm", codec="libvpx")
    assert len(frames(data[: int(0.8 * len(data))])) >= SAMPLES_PER_SECOND


def test_ffmpeg_reports_nothing_on_its_own() -> None:
    assert av.logging.get_level() is None
