"""Asking an authority of the operator's own, over real HTTP: contract, patience, and everything that can go wrong."""

from __future__ import annotations

import base64
import logging
import socket
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime, timedelta, timezone
from ipaddress import ip_address
from pathlib import Path

import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from service.errors import AuthorityUnavailable, ReferencePictureMissing, ReferencePicturePoor
from service.identity.authority import Attestation, Verdict
from service.identity.breaker import Breaker
from service.identity.claims import Validity
from service.identity.remote import MOST_QUESTIONS, Access, RemoteAuthority
from service.intake.intake import Intake
from service.values import App
from tests.fixtures.authority import TOKEN, Authority, Reply, running_authority
from tests.fixtures.people import claim
from tests.fixtures.pictures import Pictures

APP = App(1, "1", "test", "key", 0, None)
CLAIM = claim(1)
FAR = Breaker(1000, 60)
MOST_BYTES = 2**20


@pytest.fixture(scope="module")
def server() -> Iterator[Authority]:
    with running_authority() as authority:
        yield authority


@pytest.fixture
def authority(server: Authority) -> Authority:
    server.reset()
    return server


def remote(
    authority: Authority,
    looker: Intake,
    *,
    url: str | None = None,
    token: str | None = TOKEN,
    seconds: float = 20.0,
    attempts: int = 3,
    breaker: Breaker = FAR,
    verify: ssl.SSLContext | bool = True,
) -> RemoteAuthority:
    access = Access(url or authority.url, token, seconds=seconds, attempts=attempts, verify=verify)
    return RemoteAuthority(access, breaker, looker, max_picture_bytes=MOST_BYTES)


def ask(asked: RemoteAuthority, *, picture: bool = False) -> Attestation:
    try:
        return asked.ask(APP, CLAIM, picture=picture)
    finally:
        asked.close()


def photo(pictures: Pictures, name: str = "obama.jpg") -> dict[str, object]:
    return {"result": "match", "photo": pictures.base64(name)}


def test_the_question(authority: Authority, looker: Intake) -> None:
    ask(remote(authority, looker))
    assert authority.questions == [{"id_card_number": CLAIM.number, "name": CLAIM.name, "photo": False}]
    (head,) = authority.heads
    assert head["authorization"] == f"Bearer {TOKEN}"
    assert head["content-type"] == "application/json"
    authority.reset()
    ask(remote(authority, looker, token=None))
    assert "authorization" not in authority.heads[0]


@pytest.mark.parametrize("verdict", list(Verdict))
def test_the_verdicts(authority: Authority, looker: Intake, verdict: Verdict) -> None:
    authority.reset(Reply({"result": verdict.value, "something": "else"}))
    attestation = ask(remote(authority, looker))
    assert (attestation.verdict, attestation.validity, attestation.embedding) == (verdict, None, None)


@pytest.mark.parametrize(
    ("days", "validity"),
    [
        ({"valid_from": "2016-03-04", "valid_to": "2036-03-04"}, Validity(date(2016, 3, 4), date(2036, 3, 4))),
        ({"valid_from": "2016-03-04", "valid_to": "permanent"}, Validity(date(2016, 3, 4), None)),
        ({"valid_from": "2016-03-04"}, None),
        ({"valid_from": None, "valid_to": None, "photo": None}, None),
    ],
)
def test_the_term(authority: Authority, looker: Intake, days: dict[str, object], validity: Validity | None) -> None:
    authority.reset(Reply({"result": "match", **days}))
    assert ask(remote(authority, looker)).validity == validity


def test_the_photo(authority: Authority, looker: Intake, pictures: Pictures) -> None:
    authority.reset(Reply(photo(pictures)))
    known = ask(remote(authority, looker), picture=True).embedding
    assert known is not None
    assert np.array_equal(known, looker.reference(pictures.bytes("obama.jpg")).embedding)
    assert authority.questions[0]["photo"] is True
    authority.reset(Reply(photo(pictures)))
    assert ask(remote(authority, looker)).embedding is None


@pytest.mark.parametrize("content", [None, ""])
def test_no_photo(authority: Authority, looker: Intake, content: str | None) -> None:
    authority.reset(Reply({"result": "match", "photo": content}))
    with pytest.raises(ReferencePictureMissing):
        ask(remote(authority, looker), picture=True)


@pytest.mark.parametrize(
    "content",
    ["!!!!", base64.b64encode(b"no picture").decode(), base64.b64encode(bytes(MOST_BYTES + 1)).decode()],
    ids=["no base64", "no picture", "too large"],
)
def test_a_photo_that_cannot_be_used(authority: Authority, looker: Intake, content: str) -> None:
    authority.reset(Reply({"result": "match", "photo": content}))
    with pytest.raises(ReferencePicturePoor):
        ask(remote(authority, looker), picture=True)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no JSON",
        b"[]",
        {},
        {"result": "perhaps"},
        {"result": "match", "valid_from": "soon"},
        b'{"result":"\xff"}',
    ],
    ids=str,
)
def test_an_answer_that_is_none(authority: Authority, looker: Intake, body: object) -> None:
    authority.reset(Reply(body))
    with pytest.raises(AuthorityUnavailable, match="that is none"):
        ask(remote(authority, looker))
    assert len(authority.questions) == 1


def test_an_answer_that_is_too_large(authority: Authority, looker: Intake) -> None:
    authority.reset(Reply(b" " * (2 * MOST_BYTES)))
    with pytest.raises(AuthorityUnavailable, match="more than"):
        ask(remote(authority, looker))


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_passing_failure_is_asked_again(authority: Authority, looker: Intake, status: int) -> None:
    authority.reset(Reply({"result": "mismatch"}), Reply(status=status))
    assert ask(remote(authority, looker)).verdict is Verdict.MISMATCH
    assert authority.questions[0] == authority.questions[1]
    assert len(authority.questions) == 2


def test_a_broken_line_is_asked_again(authority: Authority, looker: Intake) -> None:
    authority.reset(Reply({"result": "match"}), Reply({"result": "mismatch"}, cut=True))
    assert ask(remote(authority, looker)).verdict is Verdict.MATCH


def test_not_more_often_than_allowed(authority: Authority, looker: Intake) -> None:
    authority.reset(Reply(status=503))
    with pytest.raises(AuthorityUnavailable, match="status 503"):
        ask(remote(authority, looker, attempts=2))
    assert len(authority.questions) == 2


@pytest.mark.parametrize("status", [201, 204, 400, 401, 403, 404])
def test_another_status_is_not_asked_again(authority: Authority, looker: Intake, status: int) -> None:
    authority.reset(Reply({"result": "match"}, status=status))
    with pytest.raises(AuthorityUnavailable, match=f"status {status}"):
        ask(remote(authority, looker))
    assert len(authority.questions) == 1


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirects_are_not_followed(authority: Authority, looker: Intake, status: int) -> None:
    authority.reset(Reply({"result": "match"}), Reply(status=status, headers={"Location": authority.url}))
    with pytest.raises(AuthorityUnavailable, match=f"status {status}"):
        ask(remote(authority, looker))
    assert len(authority.questions) == 1


@pytest.mark.parametrize("reply", [Reply(delay=2.0), Reply(drip=0.05)], ids=["silent", "drip"])
def test_time_is_limited_as_a_whole(authority: Authority, looker: Intake, reply: Reply) -> None:
    authority.reset(reply)
    with pytest.raises(AuthorityUnavailable, match="in time"):
        ask(remote(authority, looker, seconds=0.3, attempts=10))


def test_nobody_listens(authority: Authority, looker: Intake) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        closed = listener.getsockname()[1]
    with pytest.raises(AuthorityUnavailable, match="ConnectError"):
        ask(remote(authority, looker, url=f"http://127.0.0.1:{closed}/", attempts=2))


def self_signed(folder: Path) -> Path:
    """A file with a key and a certificate of 127.0.0.1 that vouches for itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority of a test")])
    now = datetime.now(timezone.utc)
    address = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(address, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    content = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path = folder / "authority.pem"
    path.write_bytes(content + certificate.public_bytes(Encoding.PEM))
    return path


def test_certificates_are_checked(looker: Intake, tmp_path: Path) -> None:
    path = self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    with running_authority(context) as secured:
        trusted = ssl.create_default_context(cafile=path)
        assert ask(remote(secured, looker, verify=trusted)).verdict is Verdict.UNKNOWN
        with pytest.raises(AuthorityUnavailable, match="ConnectError"):
            ask(remote(secured, looker, attempts=1))
        elsewhere = secured.url.replace("127.0.0.1", "localhost")
        with pytest.raises(AuthorityUnavailable, match="ConnectError"):
            ask(remote(secured, looker, url=elsewhere, attempts=1, verify=trusted))
        assert len(secured.questions) == 1


def test_proxies_of_the_environment_are_ignored(
    authority: Authority, looker: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert ask(remote(authority, looker)).verdict is Verdict.UNKNOWN


def test_after_failures_in_a_row_nothing_is_asked(authority: Authority, looker: Intake) -> None:
    breaker = Breaker(2, 0.2)
    asked = remote(authority, looker, attempts=1, breaker=breaker)
    authority.reset(Reply(status=503))
    for _ in range(4):
        with pytest.raises(AuthorityUnavailable):
            asked.ask(APP, CLAIM, picture=False)
    assert len(authority.questions) == 2
    authority.reset(Reply({"result": "match"}))
    threading.Event().wait(0.4)
    for _ in range(2):
        assert asked.ask(APP, CLAIM, picture=False).verdict is Verdict.MATCH
    assert breaker.closed
    asked.close()


def test_a_poor_photo_does_not_count_as_a_failure(authority: Authority, looker: Intake) -> None:
    breaker = Breaker(1, 60)
    authority.reset(Reply({"result": "match"}))
    with pytest.raises(ReferencePictureMissing):
        ask(remote(authority, looker, breaker=breaker), picture=True)
    assert breaker.closed


def test_a_slow_authority_does_not_take_every_thread(authority: Authority, looker: Intake) -> None:
    authority.reset(Reply({"result": "match"}, delay=0.5))
    asked = remote(authority, looker)

    def question(_: int) -> str:
        try:
            return asked.ask(APP, CLAIM, picture=False).verdict.value
        except AuthorityUnavailable as error:
            return str(error)

    with ThreadPoolExecutor(MOST_QUESTIONS + 4) as pool:
        answers = list(pool.map(question, range(MOST_QUESTIONS + 4)))
    asked.close()
    assert answers.count("match") >= MOST_QUESTIONS
    assert set(answers) <= {"match", "too many questions are on their way"}


def test_logs_tell_of_nobody(authority: Authority, looker: Intake, caplog: pytest.LogCaptureFixture) -> None:
    answers = [Reply({"result": "x", "name": CLAIM.name, "valid_from": CLAIM.number}), Reply(status=500)]
    with caplog.at_level(logging.DEBUG):
        for reply in answers:
            authority.reset(reply)
            with pytest.raises(AuthorityUnavailable):
                ask(remote(authority, looker, attempts=1))
    assert "the authority on identities" in caplog.text
    for secret in (CLAIM.number, CLAIM.name, TOKEN):
        assert secret not in caplog.text
