"""Linkface as its callers speak it: ``requests`` with multipart files."""

from __future__ import annotations

import base64
import io
import json
import logging
import re
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest
import requests
from PIL import Image

from examples.linkface_liveness_data import encode, main, seal, verify
from service.api.linkface.routes import PATH
from service.app import Service
from tests.contract.conftest import caller
from tests.contract.wire import Wire
from tests.fixtures import videos
from tests.fixtures.pictures import Pictures


class Client:
    """One app's caller."""

    def __init__(self, wire: Wire) -> None:
        self.url = f"{str(wire.http.base_url).rstrip('/')}{PATH}"
        self.keys = {"api_id": wire.credentials.api_key, "api_secret": wire.credentials.secret_key}

    def post(self, expected: int = 200, **sent: Any) -> dict[str, Any]:
        """An answer with this HTTP code; what every answer must be is checked."""
        response = requests.post(self.url, timeout=60, **{"data": self.keys, **sent})
        assert response.status_code == expected, response.text
        answer: dict[str, Any] = response.json()
        assert re.fullmatch(r"TID[0-9a-f]{32}", answer["request_id"])
        return answer

    def files(self, expected: int, selfie: bytes, recorded: bytes, **data: str) -> dict[str, Any]:
        """As the documents' sample: two files."""
        files = {"selfie_file": ("a.jpg", selfie), "liveness_data_file": ("b", recorded)}
        return self.post(expected, files=files, data={**self.keys, **data})


@pytest.fixture
def client(wire: Wire) -> Client:
    return Client(wire)


def blank(width: int, height: int) -> bytes:
    return cv2.imencode(".png", np.full((height, width, 3), 127, np.uint8))[1].tobytes()


def webp(width: int, height: int) -> bytes:
    return cv2.imencode(".webp", np.full((height, width, 3), 127, np.uint8))[1].tobytes()


def animated_gif(pictures: Pictures, *names: str) -> bytes:
    first, *rest = [Image.open(pictures.path(name)).convert("RGB").resize((400, 400)) for name in names]
    file = io.BytesIO()
    first.save(file, "GIF", save_all=True, append_images=rest)
    return file.getvalue()


def test_the_same_person_another_and_the_same_picture(client: Client, pictures: Pictures) -> None:
    recorded = encode([blank(64, 64), pictures.bytes("obama.jpg")], video=b"film", actions=[1, 2])
    same = client.files(200, pictures.bytes("obama2.jpg"), recorded, selfie_auto_rotate="true")
    assert list(same) == ["request_id", "status", "hack_score", "verify_score", "liveness_data_id", "image_id"]
    assert same["status"] == "OK"
    assert 0 <= same["hack_score"] <= 1
    assert 0.7 <= same["verify_score"] < 0.9
    other = client.files(200, pictures.bytes("biden.jpg"), recorded)
    assert other["verify_score"] < 0.7
    assert client.files(200, pictures.bytes("obama.jpg"), recorded)["verify_score"] == 1


def test_a_video_takes_the_place_of_frames(client: Client, pictures: Pictures) -> None:
    image = cv2.imread(str(pictures.path("obama.jpg")))
    assert image is not None
    still = np.asarray(cv2.resize(image, (480, 640)), np.uint8)
    film = videos.encode([still] * 30)
    answer = client.files(200, pictures.bytes("obama2.jpg"), encode([], video=film))
    assert answer["verify_score"] >= 0.7
    for wrong in (b"film", film[:200]):
        refused = client.files(400, pictures.bytes("obama2.jpg"), encode([], video=wrong))
        assert refused["status"] == "WRONG_LIVENESS_DATA"


def test_json_with_base64_and_keys_in_the_query(client: Client, pictures: Pictures) -> None:
    content = {
        "selfie_file": pictures.base64("obama2.jpg"),
        "liveness_data_file": base64.b64encode(encode([pictures.bytes("obama.jpg")])).decode(),
        "selfie_auto_rotate": True,
    }
    assert client.post(params=client.keys, data=None, json=content)["status"] == "OK"
    assert client.post(data={**client.keys, **content})["status"] == "OK"


@pytest.mark.parametrize("extension", [".bmp", ".png", ".tiff"])
def test_formats(client: Client, pictures: Pictures, extension: str) -> None:
    image = cv2.imread(str(pictures.path("obama2.jpg")))
    assert image is not None
    selfie = cv2.imencode(extension, cv2.resize(image, None, fx=0.5, fy=0.5))[1].tobytes()
    assert client.files(200, selfie, encode([pictures.bytes("obama.jpg")]))["status"] == "OK"


@pytest.mark.parametrize(
    ("selfie", "status"),
    [
        (b"\xff\xd8\xff" + bytes(5 * 2**20), "IMAGE_FILE_SIZE_TOO_BIG"),
        (b"no picture", "CORRUPT_IMAGE"),
        (b"GIF89a" + bytes(100), "CORRUPT_IMAGE"),
        (b"GIF89a\x08\0\x64\0" + bytes(100), "INVALID_IMAGE_FORMAT_OR_SIZE"),
        (b"GIF89a\x64\0\x64\0" + bytes(100), "CORRUPT_IMAGE"),
        (webp(100, 100), "INVALID_IMAGE_FORMAT_OR_SIZE"),
        (blank(8, 100), "INVALID_IMAGE_FORMAT_OR_SIZE"),
        (blank(4001, 10), "INVALID_IMAGE_FORMAT_OR_SIZE"),
        (blank(100, 100), "NO_FACE_DETECTED"),
    ],
)
def test_selfies_that_are_refused(client: Client, pictures: Pictures, selfie: bytes, status: str) -> None:
    answer = client.files(400, selfie, encode([pictures.bytes("obama.jpg")]))
    assert (answer["status"], answer["image"]) == (status, "selfie_file")


def test_liveness_data_that_is_refused(client: Client, pictures: Pictures) -> None:
    selfie = pictures.bytes("obama.jpg")
    assert client.files(400, selfie, b"vendor's secret")["status"] == "WRONG_LIVENESS_DATA"
    for frame in (b"no picture", b""):
        assert client.files(400, selfie, encode([frame]))["status"] == "WRONG_LIVENESS_DATA"
    answer = client.files(400, selfie, encode([blank(100, 100)]))
    assert (answer["status"], answer["image"]) == ("NO_FACE_DETECTED", "liveness_data_file")


def test_arguments_ids_and_addresses(client: Client, pictures: Pictures) -> None:
    files = {"liveness_data_file": ("b", encode([pictures.bytes("obama.jpg")]))}
    missing = client.post(400, files=files)
    assert missing["status"] == "INVALID_ARGUMENT"
    assert "selfie_file" in missing["reason"]
    unknown = client.post(400, files=files, data={**client.keys, "selfie_image_id": "abc"})
    assert (unknown["status"], unknown["image"]) == ("IMAGE_ID_NOT_EXIST", "selfie_image_id")
    forbidden = client.post(400, files=files, data={**client.keys, "selfie_url": "http://127.0.0.1:1/a.jpg"})
    assert (forbidden["status"], forbidden["image"]) == ("DOWNLOAD_ERROR", "selfie_url")
    malformed = client.post(400, files=files, data={**client.keys, "selfie_url": "nowhere"})
    assert malformed["status"] == "INVALID_ARGUMENT"
    assert "selfie_url" in malformed["reason"]
    assert client.post(400, params=b"a=%ff", data=None)["status"] == "ENCODING_ERROR"


def test_who_is_asking(client: Client, service: Service, http: httpx.Client) -> None:
    assert client.post(401, data={**client.keys, "api_secret": "wrong"})["status"] == "UNAUTHORIZED"
    assert client.post(401, data={"api_id": "unknown", "api_secret": "x"})["status"] == "UNAUTHORIZED"
    assert client.post(401, data={})["status"] == "UNAUTHORIZED"
    assert Client(caller(service, http, ["match"])).post(403)["status"] == "NO_PERMISSION"
    disabled = caller(service, http)
    service.apps.set_enabled(disabled.credentials.app_id, enabled=False)
    answer = Client(disabled).post(401)
    assert answer["status"] == "KEY_EXPIRED"
    assert answer["reason"]


def test_a_body_that_is_no_object_is_told_before_the_keys(client: Client) -> None:
    refused = client.post(400, data=None, json=[client.keys])
    assert (refused["status"], refused["reason"]) == ("INVALID_ARGUMENT", "body: not an object")
    marked = client.post(400, data=b"\xef\xbb\xbf" + json.dumps(client.keys).encode())
    assert "selfie_file" in marked["reason"]


def test_other_paths_and_methods(http: httpx.Client) -> None:
    for answer in (http.post("/identity/other"), http.get(PATH)):
        assert answer.status_code == 404
        assert answer.json()["status"] == "NOT_FOUND"


def test_the_first_picture_of_a_gif_counts(client: Client, pictures: Pictures) -> None:
    recorded = encode([pictures.bytes("obama.jpg")])
    assert client.files(200, animated_gif(pictures, "obama2.jpg", "biden.jpg"), recorded)["verify_score"] > 0.7
    assert client.files(200, animated_gif(pictures, "biden.jpg", "obama2.jpg"), recorded)["verify_score"] < 0.7


def test_a_selfie_that_lies_on_its_side(client: Client, pictures: Pictures) -> None:
    file = io.BytesIO()
    Image.open(pictures.path("obama2.jpg")).rotate(90, expand=True).save(file, "PNG")
    recorded = encode([pictures.bytes("obama.jpg")])
    assert client.files(200, file.getvalue(), recorded, selfie_auto_rotate="true")["verify_score"] > 0.7


def test_encrypted_liveness_data(client: Client, pictures: Pictures) -> None:
    selfie, message = pictures.bytes("obama2.jpg"), encode([pictures.bytes("obama.jpg")])
    server, keys = client.url.removesuffix(PATH), (client.keys["api_id"], client.keys["api_secret"])
    answer = verify(server, *keys, selfie, seal(message, keys[1]))
    assert answer["status"] == "OK"
    assert answer["verify_score"] == client.files(200, selfie, message)["verify_score"]
    as_text = {"selfie_file": pictures.base64("obama2.jpg"), "liveness_data_file": seal(message, keys[1])}
    assert client.post(params=client.keys, data=None, json=as_text)["verify_score"] == answer["verify_score"]
    foreign = client.files(400, selfie, seal(message, "another secret").encode())
    assert foreign["status"] == "WRONG_LIVENESS_DATA"
    assert "cannot be opened" in foreign["reason"]


def test_the_reference_program(
    client: Client, pictures: Pictures, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [str(pictures.path(name)) for name in ("obama2.jpg", "obama.jpg", "obama3.jpg")]
    monkeypatch.setattr("sys.argv", ["program", client.url.removesuffix(PATH), *client.keys.values(), *files])
    main()
    assert "'status': 'OK'" in capsys.readouterr().out


def test_the_reference_encoder_writes_what_would_be_sent(
    client: Client, pictures: Pictures, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As the requests to try read it: docs/requests.md."""
    output = tmp_path / "liveness_data_file"
    frames = [str(pictures.path(name)) for name in ("obama.jpg", "obama3.jpg")]
    monkeypatch.setattr("sys.argv", ["program", "--output", str(output), client.keys["api_secret"], *frames])
    main()
    assert client.files(200, pictures.bytes("obama2.jpg"), output.read_bytes())["status"] == "OK"


def test_ids_stand_for_files(client: Client, other_wire: Wire, pictures: Pictures) -> None:
    recorded = seal(encode([pictures.bytes("obama.jpg")]), client.keys["api_secret"]).encode()
    first = client.files(200, pictures.bytes("obama2.jpg"), recorded)
    assert re.fullmatch(r"[0-9a-f]{32}", first["image_id"])
    assert re.fullmatch(r"[0-9a-f]{32}", first["liveness_data_id"])
    ids = {"selfie_image_id": first["image_id"], "liveness_data_id": first["liveness_data_id"]}
    second = client.post(200, data={**client.keys, **ids})
    assert {**second, "request_id": first["request_id"]} == first
    mixed = client.post(
        200,
        data={**client.keys, "liveness_data_id": first["liveness_data_id"]},
        files={"selfie_file": ("a", pictures.bytes("biden.jpg"))},
    )
    assert mixed["verify_score"] < 0.7
    assert mixed["image_id"] not in ids.values()
    swapped = {"selfie_image_id": first["liveness_data_id"], "liveness_data_id": first["image_id"]}
    for keys, sent, name in (
        (client.keys, swapped, "selfie_image_id"),
        (client.keys, {**ids, "liveness_data_id": first["image_id"]}, "liveness_data_id"),
        (Client(other_wire).keys, ids, "selfie_image_id"),
    ):
        answer = client.post(400, data={**keys, **sent})
        assert (answer["status"], answer["image"]) == ("IMAGE_ID_NOT_EXIST", name)


def test_each_call_is_one_line_of_the_log(client: Client, pictures: Pictures, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "service.api.linkface"):
        answer = client.files(400, blank(64, 64), encode([pictures.bytes("obama.jpg")]))
    (line,) = [vars(record) for record in caplog.records if record.name == "service.api.linkface.routes"]
    assert line["call"] == "liveness_selfie_verification"
    assert line["request_id"] == answer["request_id"]
    assert line["outcome"] == "NO_FACE_DETECTED"
    assert line["milliseconds"] > 0
    assert not set(client.keys.values()) & {str(value) for value in line.values()}
