"""Small videos that ask for much: tables of billions of samples, packets of countless pieces, sound of odd rates."""

from __future__ import annotations

import io
import struct
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest

from service.errors import PictureUnreadable, VideoDamaged, VideoUnreadable
from service.images import ffmpeg, gif
from service.images.pieces import MOST_PIECES, too_many_pieces
from service.images.video import Frame, Video, VideoLimits
from tests.fixtures.videos import encode, tone
from tests.unit.images.test_video import avi, images

LIMITS = VideoLimits(seconds=4.0, pixels=1280 * 1024, work=10.0)

# What an MP4 says of a sample takes FFmpeg 24 bytes: a few more than it gets.
SAMPLES = ffmpeg.MOST_BYTES_AT_ONCE // 20


def frames(data: bytes) -> list[Frame]:
    return list(Video(data, LIMITS).frames())


def patched(data: bytes, place: int, form: str, *values: int) -> bytes:
    changed = bytearray(data)
    struct.pack_into(form, changed, place, *values)
    return bytes(changed)


# --- tables -----------------------------------------------------------------------------------------------------------


def many_alike(count: int) -> bytes:
    """An MP4 that says that it has ``count`` samples of one byte, all in its first chunk."""
    data = encode(images(30))
    data = patched(data, data.index(b"stsz") + 8, ">II", 1, count)
    return patched(data, data.index(b"stsc") + 12, ">II", 1, count)


def fragment_of_many(count: int) -> bytes:
    """The same in a fragmented file, whose tables are elsewhere."""
    data = fragmented()
    return patched(data, data.index(b"trun") + 4, ">II", 0, count)


def fragmented() -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format="mp4", options={"movflags": "frag_keyframe+empty_moov+default_base_moof"}) as output:
        stream = output.add_stream("libx264", rate=15)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for image in images(15):
            output.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        output.mux(stream.encode(None))
    return file.getvalue()


def test_a_table_of_countless_samples_is_not_written_out() -> None:
    assert len(many_alike(SAMPLES)) < 3000
    # Were it, there would be something to decode, and it would be damaged.
    with pytest.raises(VideoUnreadable, match="less than a second"):
        frames(many_alike(SAMPLES))
    with pytest.raises(VideoDamaged):
        frames(many_alike(1000))


def test_a_fragment_of_countless_samples_is_not_written_out() -> None:
    assert frames(fragmented())
    with pytest.raises(VideoUnreadable, match="container"):
        frames(fragment_of_many(SAMPLES))
    with pytest.raises(VideoDamaged):
        frames(fragment_of_many(1000))


def gif_of_one_pixel(side: int) -> bytes:
    screen = b"GIF89a" + struct.pack("<HHBBB", side, side, 0x80, 0, 0) + bytes([255, 0, 0, 0, 0, 255])
    return screen + b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00;"


def test_the_largest_gif_that_a_call_takes_is_read_and_a_larger_one_is_not() -> None:
    assert gif.first_picture(gif_of_one_pixel(4000))
    with pytest.raises(PictureUnreadable):
        gif.first_picture(gif_of_one_pixel(8000))


# --- packets ----------------------------------------------------------------------------------------------------------


def muxed(container: str, codec: str, packets: list[bytes]) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        stream = output.add_stream(codec, rate=15)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for index, content in enumerate(packets):
            packet = av.Packet(content)
            packet.stream, packet.time_base = stream, Fraction(1, 15)
            packet.pts = packet.dts = index
            output.mux(packet)
    return file.getvalue()


def h264_packets(count: int) -> list[bytes]:
    context = av.CodecContext.create("libx264", "w")
    context.width, context.height, context.pix_fmt, context.time_base = 96, 64, "yuv420p", Fraction(1, 15)
    context.options = {"preset": "ultrafast", "x264-params": "slices=2:bframes=0:annexb=1:repeat-headers=1"}
    shown = [av.VideoFrame.from_ndarray(image, format="bgr24") for image in images(count)]
    for index, frame in enumerate(shown):
        frame.pts = index
    return [bytes(packet) for frame in [*shown, None] for packet in context.encode(frame)]


@pytest.mark.parametrize("container", ["matroska", "mp4", "avi"])
def test_a_slice_that_is_repeated_without_end_is_not_decoded(container: str) -> None:
    packets = h264_packets(15)
    start = packets[2].rindex(b"\0\0\1")
    assert len(frames(muxed(container, "libx264", packets))) == 11
    packets[2] += packets[2][start:] * MOST_PIECES
    with pytest.raises(VideoDamaged, match="pieces"):
        frames(muxed(container, "libx264", packets))


@pytest.mark.parametrize("piece", [b"\xff\xda\0\x02", b"\xff\xc2\0\x02", b"\xff\xd8"])
def test_a_scan_that_is_repeated_without_end_is_not_decoded(piece: bytes) -> None:
    done, content = cv2.imencode(".jpg", images(1)[0])
    assert done
    jpeg = content.tobytes()
    assert len(frames(avi([jpeg] * 15))) == 11
    with pytest.raises(VideoDamaged, match="pieces"):
        frames(avi([jpeg[:-2] + piece * MOST_PIECES + jpeg[-2:]] * 15))


def test_units_of_av1_are_counted() -> None:
    delimiter, frame, last = b"\x12\0", b"\x32\x81\x00\x55", b"\x30\x55"
    assert not too_many_pieces("libdav1d", delimiter + frame * (MOST_PIECES - 1))
    assert too_many_pieces("libdav1d", delimiter + frame * MOST_PIECES)
    assert not too_many_pieces("libdav1d", last + frame * MOST_PIECES)
    assert not too_many_pieces("libdav1d", b"\x36")


@pytest.mark.parametrize("size", [1, 2, 3, 4])
@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_units_behind_lengths_are_counted_however_long_the_lengths_are(size: int, codec: str) -> None:
    unit = (5).to_bytes(size, "big") + b"\x41abcd"
    assert not too_many_pieces(codec, unit * (MOST_PIECES - 100))
    assert too_many_pieces(codec, unit * (MOST_PIECES + 1))


def test_noise_is_in_few_pieces() -> None:
    noise = np.random.default_rng(3).integers(0, 256, 300_000, dtype=np.uint8).tobytes()
    assert not too_many_pieces("h264", len(noise).to_bytes(4, "big") + noise)
    assert not too_many_pieces("vp8", b"\0\0\1" * 1000)
    assert not too_many_pieces("h264", b"")
    assert not too_many_pieces("mjpeg", b"\xff")


def test_nothing_is_decoded_before_its_packets_are_counted() -> None:
    video = Video(encode(images(15), container="avi"), LIMITS)
    with video._opened() as container:
        assert container.streams.video[0].codec_context.pix_fmt is None


# --- sound ------------------------------------------------------------------------------------------------------------


def with_sound(container: str = "avi") -> bytes:
    codec = "mjpeg" if container == "avi" else "libx264"
    sound = tone(1.9, loud=[(0, 1.9)])
    return encode(images(30), sound=sound, container=container, codec=codec, sound_codec="pcm_s16le")


@pytest.mark.parametrize("rate", [1, 2**31 - 1])
def test_sound_of_an_odd_rate_harms_no_video(rate: int) -> None:
    data = with_sound()
    header = data.index(b"auds")
    data = patched(data, data.index(b"strf", header) + 12, "<I", rate)
    assert len(frames(patched(data, header + 20, "<II", 1, rate))) == 22


def test_sound_in_too_many_channels_harms_no_video() -> None:
    data = with_sound("mov")
    assert frames(patched(data, data.index(b"sowt") + 20, ">H", 64))
