"""Every call with its log turned up: nothing of what was sent may stand there, nor any key."""

from __future__ import annotations

import base64
import io
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
import sqlalchemy as sa
import sqlalchemy.exc

from examples.linkface_liveness_data import encode
from service.api.linkface import routes as linkface
from service.api.oauth import routes as oauth
from service.api.v3 import private
from service.app import Service
from service.logs import JsonFormatter, TextFormatter
from tests.contract.conftest import caller
from tests.contract.devices import keys_of
from tests.contract.tenants import CASES, Asker, Names
from tests.contract.test_access import SIGNED, signed_headers
from tests.contract.wire import PATHS, Wire
from tests.fixtures.people import number
from tests.fixtures.pictures import Pictures

ID_NUMBER = "11010519491231002X"
NAME = "欧阳无名"
INFO = "information-about-somebody"
PERSONAL = {"id_card_number": ID_NUMBER, "name": NAME, "user_info": INFO}
LIBRARIES = ("httpx", "httpcore")
"""The tests' own client, which runs in this process too and knows nothing of secrets."""


@contextmanager
def listened() -> Iterator[list[io.StringIO]]:
    """Everything that any logger says, at every level, as both formats write it."""
    streams = [io.StringIO(), io.StringIO()]
    handlers = [logging.StreamHandler(stream) for stream in streams]
    for handler, formatter in zip(handlers, (TextFormatter(), JsonFormatter()), strict=True):
        handler.setFormatter(formatter)
        handler.addFilter(lambda record: not record.name.startswith(LIBRARIES))
        logging.getLogger().addHandler(handler)
    root, level = logging.getLogger(), logging.getLogger().level
    root.setLevel(logging.DEBUG)
    try:
        yield streams
    finally:
        root.setLevel(level)
        for handler in handlers:
            root.removeHandler(handler)


def ask_everything(wire: Wire, pictures: Pictures) -> None:
    """Every call, with a picture and personal data wherever they fit; then keys of every kind, right and wrong."""
    picture = pictures.base64("obama.jpg")
    user = {"group_id": "logged", "user_id": "somebody", **PERSONAL}
    token = wire.result("addUser", {"image": picture, "image_type": "BASE64", **user})["face_token"]
    key = next(key for key in keys_of(wire) if key["alg"] == "ECDH-ES")
    names = Names(
        "logged",
        "logged_scene",
        "somebody",
        token,
        token,
        1,
        "nonce-of-somebody",
        "phone",
        key,
        "S" + "1" * 32,
        number(9),
    )
    for path, case in CASES.items():
        if path.startswith(private.PREFIX):
            continue
        for body in case(names, Asker(picture, key)):
            sent = {**body, **PERSONAL} if isinstance(body, dict) else body
            wire.response(path, json.dumps(sent).encode())
    credentials = wire.credentials
    for secret in (credentials.secret_key, credentials.secret_key[::-1]):
        grant = {"grant_type": "client_credentials", "client_id": credentials.api_key, "client_secret": secret}
        wire.http.get(oauth.PATH, params=grant)
        wire.http.post(oauth.PATH, json=grant)
        headers = signed_headers(credentials.api_key, secret)
        wire.http.post(PATHS["getGroupList"], params=SIGNED, content=b"{}", headers=headers)
        wire.http.post(
            linkface.PATH,
            data={"api_id": credentials.api_key, "api_secret": secret},
            files={"selfie_file": pictures.bytes("obama.jpg"), "liveness_data_file": encode([b"no picture"])},
        )


def test_nothing_secret_is_logged(service: Service, http: httpx.Client, pictures: Pictures) -> None:
    wire = caller(service, http)
    with listened() as streams:
        ask_everything(wire, pictures)
        picture = pictures.base64("obama.jpg")
        last = {"image": picture, "image_type": "BASE64", "group_id": "kept", "user_id": "somebody"}
        token = wire.result("addUser", last)["face_token"]
        renewed = service.apps.rotate(wire.credentials.app_id)
    with service.database.read() as reader:
        app = reader.apps.by_app_id(wire.credentials.app_id)
        assert app is not None
        sealed = reader.apps.sealed_secret(app.pk)
        kept = reader.faces.stored_by_token(app.pk, token, service.engine.model_id)
    assert kept is not None
    assert kept.embedding is not None
    assert kept.face.portrait is not None
    vector = kept.embedding.tobytes()
    forbidden = {
        "a secret key": wire.credentials.secret_key,
        "a secret key that was wrong": wire.credentials.secret_key[::-1],
        "a new secret key": renewed.secret_key,
        "a sealed secret": sealed.hex(),
        "an access token": wire.token,
        "what signs an access token": wire.token.split(".")[1],
        "a picture": picture[5000:5040],
        "the beginning of a picture": picture[:40],
        "bytes of a picture": repr(pictures.bytes("obama.jpg")[1000:1020])[2:-1],
        "an id number": ID_NUMBER,
        "a name": NAME,
        "what is known of a user": INFO,
        "an embedding in hexadecimal": vector[:12].hex(),
        "an embedding in base64": base64.b64encode(vector)[:32].decode(),
        "a crop": base64.b64encode(kept.face.portrait[600:630]).decode(),
        "an embedding": "array(",
        "a vector": "dtype=",
    }
    for stream in streams:
        text = stream.getvalue()
        assert text.count("detect") > 1  # something was logged
        assert [what for what, content in forbidden.items() if content in text] == []


def test_an_error_of_the_database_does_not_quote_what_was_sent(service: Service) -> None:
    with pytest.raises(sqlalchemy.exc.ProgrammingError) as raised, service.database.read() as reader:
        reader.groups._execution.run(sa.text("SELECT :name FROM nowhere"), {"name": NAME})
    assert NAME not in str(raised.value)
