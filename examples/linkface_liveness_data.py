"""Reference encoder of liveness data: what an app on a phone makes, and how it is sent.

``encode`` writes the message of docs/linkface.proto, ``seal`` encrypts it for one app of the server. Needs ``requests``
and ``joserfc`` (which brings ``cryptography``).

    python examples/linkface_liveness_data.py http://127.0.0.1:8000 API_KEY SECRET_KEY selfie.jpg frame1.jpg frame2.jpg
    python examples/linkface_liveness_data.py --output liveness_data_file SECRET_KEY frame1.jpg frame2.jpg

The second sends nothing: it writes the sealed message into a file, for whatever else sends it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import requests
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from joserfc import jwe
from joserfc.jwk import OctKey

VERSION, FRAMES, VIDEO, ACTIONS = 1, 2, 3, 4
"""Field numbers of the message."""

BLINK, MOUTH, NOD, YAW = 1, 2, 3, 4
"""Numbers of the actions."""

_VARINT, _BYTES = 0, 2
"""Wire types of the Protocol Buffers encoding."""


def encode(frames: Sequence[bytes], *, version: int = 1, video: bytes = b"", actions: Sequence[int] = ()) -> bytes:
    """A message ``LivenessData``: ``frames`` are picture files, 1 to 8, in the order of recording."""
    message = _key(VERSION, _VARINT) + _varint(version)
    for frame in frames:
        message += _bytes(FRAMES, frame)
    if video:
        message += _bytes(VIDEO, video)
    if actions:
        message += _bytes(ACTIONS, b"".join(_varint(action) for action in actions))
    return message


def seal(message: bytes, api_secret: str) -> str:
    """The message as a compact JWE that only the server and the holders of ``api_secret`` can open."""
    key = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"aipface liveness data v1").derive(api_secret.encode())
    header = {"alg": "dir", "enc": "A256GCM"}
    return jwe.encrypt_compact(header, message, OctKey.import_key(key), algorithms=["dir", "A256GCM"])


def verify(server: str, api_id: str, api_secret: str, selfie: bytes, liveness_data: str | bytes) -> dict[str, object]:
    """Send both as files and return the answer, whatever it says."""
    answer = requests.post(
        f"{server}/identity/liveness_selfie_verification",
        data={"api_id": api_id, "api_secret": api_secret},
        files={"selfie_file": ("selfie", selfie), "liveness_data_file": ("liveness_data", liveness_data)},
        timeout=60,
    )
    content: dict[str, object] = answer.json()
    return content


def _key(number: int, wire_type: int) -> bytes:
    return _varint(number << 3 | wire_type)


def _bytes(number: int, content: bytes) -> bytes:
    return _key(number, _BYTES) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])


def sealed_frames(api_secret: str, frames: Sequence[str]) -> str:
    """The files of these names as liveness data."""
    return seal(encode([Path(frame).read_bytes() for frame in frames]), api_secret)


def main() -> None:
    """Compare a selfie with frames, or write the frames' data into a file; all are named on the command line."""
    match sys.argv[1:]:
        case ["--output", output, api_secret, first, *frames]:
            Path(output).write_text(sealed_frames(api_secret, [first, *frames]), encoding="ascii")
        case [server, api_id, api_secret, selfie, first, *frames] if server != "--output":
            sealed = sealed_frames(api_secret, [first, *frames])
            sys.stdout.write(f"{verify(server, api_id, api_secret, Path(selfie).read_bytes(), sealed)}\n")
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
