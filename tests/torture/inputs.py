"""Hostile requests without end, the same for the same seed: mutated pictures, mutated bodies, for every call."""

from __future__ import annotations

import base64
import json
import random
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import cv2
import numpy as np

from tests.fixtures.pictures import Pictures
from tests.seeds import data
from tests.seeds.data import SeedCall

FORMATS = (".jpg", ".png", ".webp", ".tiff", ".bmp")
SIDE = 96
"""Of the pictures that are mutated, in pixels: what survives is looked at, and small is quick."""
TYPES = (
    "application/json",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "multipart/form-data",
    "text/plain; charset=utf-16",
    "application/json; charset=klingon",
    "image/jpeg",
    "",
)
ODD: tuple[object, ...] = (
    None, True, False, 0, -1, 1.5, 10**30, -(10**400), 1e308, "", " ", "\0", "a" * 70_000, "٣", "１２", "\u202e",
    "NaN", "1e999", "0x10", "-0", [], {}, [[]], [None], {"": None}, [{"a": 1}] * 20, "[object Object]", "%00", "../../",
    "' OR 1=1 --", "${jndi:x}", "\ud7ff\ue000", "🙂" * 100,
)  # fmt: skip


@dataclass(frozen=True)
class Hostile:
    """One request. ``kind`` names what was done to it, for the report."""

    kind: str
    path: str
    body: bytes
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    chunked: bool = False


class Inputs:
    """Makes requests; ``next`` never runs out."""

    def __init__(self, pictures: Pictures, seed: int) -> None:
        self._choice = random.Random(seed)  # noqa: S311 (a corpus that repeats)
        self._calls = [call for call in data.calls() if call.name not in data.missing().calls]
        self._files = small_pictures(pictures)
        self._kinds: tuple[Callable[[], Hostile], ...] = (
            *[self._mutated_picture] * 4,
            self._bomb,
            self._polyglot,
            *[self._odd_values] * 4,
            self._broken_text,
            self._deep,
            self._duplicates,
            self._form_bomb,
            self._bytes,
            self._base64,
        )

    def __iter__(self) -> Iterator[Hostile]:
        while True:
            yield self._choice.choice(self._kinds)()

    # --- pictures ---

    def _mutated_picture(self) -> Hostile:
        content = bytearray(self._choice.choice(self._files))
        how = self._choice.randrange(6)
        if how == 0:
            del content[self._choice.randrange(len(content)) :]
        elif how == 1:
            for _ in range(self._choice.randint(1, 40)):
                content[self._choice.randrange(len(content))] = self._choice.randrange(256)
        elif how == 2:  # in the header, where sizes and offsets stand
            for _ in range(self._choice.randint(1, 8)):
                content[self._choice.randrange(min(128, len(content)))] = self._choice.choice((0, 1, 0x7F, 0x80, 0xFF))
        elif how == 3:
            start = self._choice.randrange(len(content))
            del content[start : start + self._choice.randint(1, 500)]
        elif how == 4:
            at = self._choice.randrange(len(content))
            content[at:at] = content[: self._choice.randint(1, 300)] * self._choice.randint(1, 30)
        else:
            at = self._choice.randrange(max(1, len(content) - 4))
            content[at : at + 4] = struct.pack(
                self._choice.choice("<>") + "I", self._choice.choice((0, 2**31, 2**32 - 1))
            )
        return self._picture("mutated picture", bytes(content))

    def _bomb(self) -> Hostile:
        width, height = self._choice.choice(
            ((2**31 - 1, 2**31 - 1), (65_535, 65_535), (1, 2**30), (2**16, 900), (0, 0))
        )
        return self._picture(
            "bomb", self._choice.choice((png_bomb, bmp_bomb, gif_bomb, tiff_bomb, webp_bomb))(width, height)
        )

    def _polyglot(self) -> Hostile:
        first, second = self._choice.choice(self._files), self._choice.choice(self._files)
        wrapping = self._choice.choice(
            (b"PK\x03\x04", b"%PDF-1.7\n", b"<svg xmlns='http://www.w3.org/2000/svg'>", b"GIF89a", b"\0" * 64)
        )
        whole = self._choice.choice(
            (first + second, wrapping + first, first[:40] + second, first[:12] + wrapping + second[12:])
        )
        return self._picture("polyglot", whole)

    def _picture(self, kind: str, content: bytes) -> Hostile:
        call = self._choice.choice(self._calls)
        text = base64.b64encode(content).decode()
        body = self._valid(call)
        for name in ("image", "images", "video_base64", "selfie_file", "image_list", "data", "liveness_data_file"):
            if name in body:
                body[name] = [text] if isinstance(body[name], list) else text
        body["image_type"] = "BASE64"
        return self._sent(kind, call, body)

    # --- bodies ---

    def _odd_values(self) -> Hostile:
        call = self._choice.choice(self._calls)
        body = self._valid(call)
        for _ in range(self._choice.randint(1, 3)):
            name = self._choice.choice([*body, "image", "access_token", "\0", "__proto__"])
            body[name] = self._choice.choice(ODD)
        return self._sent("odd values", call, body)

    def _broken_text(self) -> Hostile:
        call = self._choice.choice(self._calls)
        text = bytearray(json.dumps(self._valid(call)).encode())
        for _ in range(self._choice.randint(1, 6)):
            text[self._choice.randrange(len(text))] = self._choice.choice(b'{}[]",:\\\0\xff\xc3\xed\xa0\x80019eE-')
        return self._request("broken text", call, bytes(text))

    def _deep(self) -> Hostile:
        opening, closing = self._choice.choice(((b"[", b"]"), (b'{"a":', b"}"), (b'[{"image":', b"}]")))
        depth = self._choice.choice((100, 1000, 100_000))
        text = opening * depth + b"1" + closing * depth
        return self._request(
            "deep", self._choice.choice(self._calls), text if self._choice.random() < 0.7 else opening * depth
        )

    def _duplicates(self) -> Hostile:
        call = self._choice.choice(self._calls)
        pairs = [*self._valid(call).items(), ("image", "x"), ("image_type", "URL"), ("image", 7)]
        lines = [f"{json.dumps(name)}:{json.dumps(value)}" for name, value in self._choice.choices(pairs, k=30)]
        return self._request("duplicate keys", call, f"{{{','.join(lines)}}}".encode())

    def _form_bomb(self) -> Hostile:
        text = self._choice.choice(
            (
                b"&".join(b"f%d=%d" % (number, number) for number in range(self._choice.choice((900, 1001, 50_000)))),
                b"image=" + b"%" * 10_000,
                b"image=%ff%fe&image_type=%00",
                b"=&=&==&&&" * 2000,
                b"a[b][c][d]=1&a[b]=2&a=" + b"[" * 5000,
                b"--x\r\n" * 5000,
                b"--x\r\nContent-Disposition: form-data; name=image\r\n\r\n" + b"\0" * 10_000 + b"\r\n--x--",
            )
        )
        return self._request("form bomb", self._choice.choice(self._calls), text)

    def _bytes(self) -> Hostile:
        return self._request(
            "random bytes", self._choice.choice(self._calls), self._choice.randbytes(self._choice.randint(0, 3000))
        )

    def _base64(self) -> Hostile:
        text = self._choice.choice(
            ("=" * 4000, "A" * 4001, "data:image/png;base64," * 300, "////" * 1000, "A=B=" * 500)
        )
        call = self._choice.choice(self._calls)
        return self._sent("base64", call, {**self._valid(call), "image": text, "image_type": "BASE64"})

    # --- requests ---

    def _valid(self, call: SeedCall) -> dict[str, object]:
        """The document's own values, placeholders and all, some of them left out."""
        chosen = [each for each in call.parameters if each.required or self._choice.random() < 0.5]
        return {each.name: each.valid for each in chosen}

    def _sent(self, kind: str, call: SeedCall, body: Mapping[str, object]) -> Hostile:
        content: object = [body] * self._choice.randint(1, 9) if call.pictures else body
        return self._request(kind, call, json.dumps(content).encode())

    def _request(self, kind: str, call: SeedCall, body: bytes) -> Hostile:
        headers = {}
        if self._choice.random() < 0.5:
            headers["Content-Type"] = self._choice.choice(TYPES)
        if self._choice.random() < 0.05:
            headers["Content-Encoding"] = self._choice.choice(("gzip", "br", "identity, gzip"))
        return Hostile(kind, call.path, body, headers=headers, chunked=self._choice.random() < 0.1)


def small_pictures(pictures: Pictures) -> list[bytes]:
    """A photograph with a face in every format."""
    whole = cv2.imread(str(pictures.path("obama.jpg")))
    assert whole is not None
    pixels = cv2.resize(whole, (SIDE, SIDE))
    return [np.asarray(cv2.imencode(extension, pixels)[1]).tobytes() for extension in FORMATS]


def png_bomb(width: int, height: int) -> bytes:
    """A PNG (section 5 of its specification) that says to be large, and inflates to a lot."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(10**6))) + chunk(b"IEND", b"")
    )


def bmp_bomb(width: int, height: int) -> bytes:
    """A BMP of which only the header is there."""
    return b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, width, -height, 1, 24, 0, 0, 0, 0, 0, 0)


def gif_bomb(width: int, height: int) -> bytes:
    """A GIF whose screen is as large as the format can tell."""
    screen = struct.pack("<HHBBB", width & 0xFFFF, height & 0xFFFF, 0x80, 0, 0)
    return (
        b"GIF89a"
        + screen
        + bytes(6)
        + b","
        + struct.pack("<HHHHB", 0, 0, width & 0xFFFF, height & 0xFFFF, 0)
        + b"\x02\x02L\x01\0;"
    )


def tiff_bomb(width: int, height: int) -> bytes:
    """A TIFF with one strip of nothing, and a directory that follows itself."""
    entries = [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, 1, 8),
        (262, 3, 1, 1),
        (273, 4, 1, 8),
        (279, 4, 1, 2**31),
    ]
    lines = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + lines + struct.pack("<I", 8)


def webp_bomb(width: int, height: int) -> bytes:
    """An extended WebP whose canvas is large and which has no frame."""
    sides = struct.pack("<I", (width - 1) & 0xFFFFFF)[:3] + struct.pack("<I", (height - 1) & 0xFFFFFF)[:3]
    return b"RIFF" + struct.pack("<I", 22) + b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + sides
