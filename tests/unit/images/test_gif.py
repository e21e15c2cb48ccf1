"""The first picture of GIFs, and what happens to the other bytes that begin like one."""

from __future__ import annotations

import io
import struct

import cv2
import numpy as np
import pytest
from PIL import Image as PillowImage

from service.errors import PictureUnreadable
from service.images import gif
from service.images.headers import HeaderError

RED, BLUE = (255, 0, 0), (0, 0, 255)


def animated(*colours: tuple[int, int, int], size: tuple[int, int] = (20, 10)) -> bytes:
    first, *rest = [PillowImage.new("RGB", size, colour) for colour in colours]
    file = io.BytesIO()
    first.save(file, "GIF", save_all=True, append_images=rest)
    return file.getvalue()


def test_only_the_first_picture_counts() -> None:
    data = animated(RED, BLUE)
    assert gif.is_gif(data)
    assert gif.screen_size(data) == (20, 10)
    pixels = cv2.imdecode(np.frombuffer(gif.first_picture(data), np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None
    assert pixels.shape == (10, 20, 3)
    assert np.all(pixels == RED[::-1])


def test_a_decoder_sees_one_picture_however_many_there_are() -> None:
    data = animated(RED, BLUE)
    first, second = animated(RED), data.rindex(b"\x2c")
    many = data[:second] + data[second:-1] * 1000 + b";"
    assert len(gif._cut(many)) <= len(first) + 19  # the loop extension


@pytest.mark.parametrize("length", [0, 6, 9])
def test_a_header_that_is_cut_off(length: int) -> None:
    with pytest.raises(HeaderError):
        gif.screen_size(animated(RED)[:length])


def test_a_canvas_without_pixels() -> None:
    with pytest.raises(HeaderError):
        gif.screen_size(b"GIF89a" + bytes(7))


def test_damage() -> None:
    data = animated(RED)
    for length in range(6, len(data) - 4):
        with pytest.raises(PictureUnreadable):
            gif.first_picture(data[:length])


def test_a_picture_that_is_larger_than_its_canvas() -> None:
    data = bytearray(animated(RED))
    place = data.index(b"\x2c")
    struct.pack_into("<HH", data, place + 5, 60000, 60000)
    with pytest.raises(PictureUnreadable, match="larger than its canvas"):
        gif.first_picture(bytes(data))


def test_no_picture_at_all() -> None:
    with pytest.raises(PictureUnreadable, match="no picture"):
        gif.first_picture(b"GIF89a" + struct.pack("<HHBBB", 9, 9, 0, 0, 0) + b";")
