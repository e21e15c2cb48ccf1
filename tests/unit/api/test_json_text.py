"""Large JSON is read as small JSON is."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest

from service.api import json_text, pictures
from service.api.fields import Fields
from service.errors import FaceTokenNotFound, ParameterTooLong
from service.values import LongText

LONG = "aB+/" * 400_000


@pytest.mark.parametrize(
    "content",
    [
        {"image": LONG, "image_type": "BASE64"},
        [{"image": LONG, "n": 1}, {"image": LONG + "==", "n": [True, None, 1.5, {"深": "层"}]}],
        {"quote": 'a\\"b', "image": LONG},
        {"image": LONG + "\n"},
        {"image": LONG + "人"},
        {"image": "/" + LONG + '"'},
        {LONG: 1},
        LONG,
        {"list": [str(number) for number in range(200)], "image": LONG},
    ],
    ids=range(9),  # else the values are the names
)
def test_large_bodies_say_what_the_parser_reads(content: object) -> None:
    for text in (orjson.dumps(content), json.dumps(content).encode(), json.dumps(content).replace("/", r"\/").encode()):
        assert len(text) > json_text.LARGE
        assert json_text.loads(text) == content


def test_a_long_picture_stays_where_it_is() -> None:
    for content in ({"image": LONG, "text": LONG}, [{"image": LONG, "text": LONG}, {"image": "short"}]):
        read: Any = json_text.loads(orjson.dumps(content))
        first = read[0] if isinstance(read, list) else read
        assert isinstance(first["image"], LongText)
        assert isinstance(first["text"], str)
        assert read == content


def test_a_long_picture_is_text_to_whoever_wants_text() -> None:
    read: Any = json_text.loads(orjson.dumps({"image": LONG}))
    fields = Fields(read)
    assert fields.text("image") == LONG
    assert isinstance(fields.picture("image"), LongText)
    with pytest.raises(ParameterTooLong):
        fields.text("image", 100)
    named = pictures.source(Fields({**read, "image_type": "URL"}))
    assert isinstance(named.text, str)
    with pytest.raises(FaceTokenNotFound):
        pictures.source(Fields({**read, "image_type": "FACE_TOKEN"}))


@pytest.mark.parametrize(
    "text",
    [f'{{"image": "{LONG}', f'{{"image": "{LONG}\n"}}', f'{{"image": "{LONG}"', f'"{LONG}" 1'],
    ids=range(4),
)
def test_what_is_no_json_stays_none(text: str) -> None:
    with pytest.raises(orjson.JSONDecodeError):
        json_text.loads(text.encode())
