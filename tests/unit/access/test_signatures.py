"""Signatures made by the real Python SDK, recorded from the real Node SDK, and built from the recipe for the rest."""

from __future__ import annotations

import hashlib
import hmac
import warnings
from collections.abc import Mapping
from datetime import datetime, timezone
from urllib.parse import quote, urlencode

import pytest
from aip import AipFace

from service.access.signatures import CLOCK_SKEW_SECONDS, SignedRequest, is_signed, parse, verify
from service.errors import SignatureInvalid

KEY, SECRET = "AKexample", "SKexample"
PATH = "/rest/2.0/face/v3/detect"
HOST = "aip.baidubce.com"
MOMENT = datetime(2026, 1, 31, 13, 5, 9, tzinfo=timezone.utc)
NOW = MOMENT.timestamp()
STAMP = "2026-01-31T13:05:09Z"


def check(
    header: str,
    headers: Mapping[str, str],
    *,
    query: str = "",
    path: str = PATH,
    secret: str | None = SECRET,
    now: float = NOW,
    method: str = "POST",
    content: bytes | None = None,
) -> None:
    request = SignedRequest(method, path, query, {name.lower(): value for name, value in headers.items()})
    verify(parse(header), request, secret, now, None if content is None else lambda: content)


def sign(canonical: str, *, names: str, stamp: str = STAMP, seconds: int = 1800) -> str:
    """The recipe that all clients share, from a canonical request that each builds in its own way."""
    prefix = f"bce-auth-v1/{KEY}/{stamp}/{seconds}"
    key = hmac.new(SECRET.encode(), prefix.encode(), hashlib.sha256).hexdigest()
    return f"{prefix}/{names}/{hmac.new(key.encode(), canonical.encode(), hashlib.sha256).hexdigest()}"


def encode(text: str) -> str:
    return quote(text, safe="")


# --- Python: the real package ---------------------------------------------------------------------------------------


def by_python_sdk(host: str, parameters: dict[str, str]) -> dict[str, str]:
    client = AipFace("1", KEY, SECRET)
    client._isCloudUser = True
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the package calls datetime.utcnow
        headers: dict[str, str] = client._getAuthHeaders(
            "POST", f"http://{host}{PATH}", parameters, {"Content-Type": "application/json"}
        )
    return headers


@pytest.mark.parametrize("host", [HOST, "127.0.0.1:8000"])
@pytest.mark.parametrize(
    "parameters",
    [
        {"aipSdk": "python", "aipVersion": "4.15.13"},
        {"aipVersion": "4.15.13", "aipSdk": "python"},
        {"blank": "a b", "plus": "a+b", "slash": "a/b", "chinese": "人脸", "tilde": "~*", "empty": ""},
    ],
)
def test_python(host: str, parameters: dict[str, str]) -> None:
    headers = by_python_sdk(host, parameters)
    now = datetime.now(timezone.utc).timestamp()
    check(headers["authorization"], headers, query=urlencode(parameters), now=now)
    with pytest.raises(SignatureInvalid):
        check(headers["authorization"], headers, query=urlencode({**parameters, "more": "1"}), now=now)
    with pytest.raises(SignatureInvalid):
        check(headers["authorization"], {**headers, "Content-Type": "text/plain"}, query=urlencode(parameters), now=now)


# --- Node: recorded from its makeBceOptions, version 4.16.16 --------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "content_type", "signature"),
    [
        (
            "/rest/2.0/face/v3/detect",
            "application/x-www-form-urlencoded",
            "8211446668ff8ae5af91b1d2aa42cae1c9886967e44d04b30cd07a68132b40a1",
        ),
        (
            "/rest/2.0/face/v4/mingjing/match",
            "application/json",
            "ce1f70f30b2c0672d79c3db56539f569a9f63588174058298119b4578186d82b",
        ),
    ],
)
def test_node(path: str, content_type: str, signature: str) -> None:
    headers = {"Host": HOST, "Content-Type": content_type, "x-bce-date": STAMP, "Content-Length": "17"}
    header = f"bce-auth-v1/{KEY}/{STAMP}/1800/content-type;host;x-bce-date/{signature}"
    check(header, headers, query="aipSdk=node", path=path)
    with pytest.raises(SignatureInvalid):
        check(header, {**headers, "Host": "elsewhere.example"}, query="aipSdk=node", path=path)


# --- Java: an empty list means the default set; the hour is written on a twelve-hour clock --------------------------


def by_java(
    stamp: str, *, signed_host: str = HOST, sent_host: str = HOST, md5: str | None = "1B2M2Y8AsgTpgAmY7PhCfg=="
) -> tuple[str, dict[str, str]]:
    headers = {"content-type": "application/json;charset=UTF-8", "content-length": "17", "x-bce-date": stamp}
    if md5 is not None:
        headers["content-md5"] = md5
    lines = sorted(f"{name}:{encode(value)}" for name, value in {**headers, "host": signed_host}.items())
    header = sign("\n".join(["POST", PATH, "aipSdk=java", "\n".join(lines)]), names="", stamp=stamp)
    # The HTTP stack adds headers of its own, which must not count.
    return header, {**headers, "host": sent_host, "accept": "*/*", "user-agent": "Java/1.8", "connection": "keep-alive"}


@pytest.mark.parametrize(("signed", "sent"), [(HOST, HOST), ("localhost", "localhost:8000")])
def test_java(signed: str, sent: str) -> None:
    header, headers = by_java("2026-01-31T01:05:09Z", signed_host=signed, sent_host=sent)
    check(header, headers, query="aipSdk=java", now=datetime(2026, 1, 31, 1, 10, tzinfo=timezone.utc).timestamp())


@pytest.mark.parametrize(
    ("stamp", "hour"),
    [
        ("2026-01-31T01:05:09Z", 1),
        ("2026-01-31T01:05:09Z", 13),
        ("2026-01-31T12:05:09Z", 12),
        ("2026-01-31T12:05:09Z", 0),
    ],
)
def test_java_writes_afternoons_as_mornings(stamp: str, hour: int) -> None:
    header, headers = by_java(stamp)
    check(header, headers, query="aipSdk=java", now=datetime(2026, 1, 31, hour, 6, tzinfo=timezone.utc).timestamp())
    with pytest.raises(SignatureInvalid):
        check(
            header, headers, query="aipSdk=java", now=datetime(2026, 1, 31, hour, 36, tzinfo=timezone.utc).timestamp()
        )


@pytest.mark.parametrize(
    "md5", ["ebd1a8f1177f6109b7badaa681bb4803", "EBD1A8F1177F6109B7BADAA681BB4803", "69Go8Rd/YQm3utqmgbtIAw=="]
)
def test_the_other_half_of_the_day_is_for_the_body_that_was_signed(md5: str) -> None:
    header, headers = by_java("2026-01-31T01:05:09Z", md5=md5)
    morning, afternoon = (datetime(2026, 1, 31, hour, 6, tzinfo=timezone.utc).timestamp() for hour in (1, 13))
    check(header, headers, query="aipSdk=java", now=afternoon, content=b'{"start":0}')
    for content in (b"", b"another body"):
        check(header, headers, query="aipSdk=java", now=morning, content=content)
        with pytest.raises(SignatureInvalid):
            check(header, headers, query="aipSdk=java", now=afternoon, content=content)
    check(header, headers, query="aipSdk=java", now=afternoon)  # nobody will look at the body


def test_the_twelve_hour_clock_is_java_s_alone() -> None:
    header, headers = by_java("2026-01-31T01:05:09Z", md5=None)
    with pytest.raises(SignatureInvalid):
        check(header, headers, query="aipSdk=java")


# --- C# and PHP -----------------------------------------------------------------------------------------------------


def test_csharp() -> None:
    canonical = f"POST\n{PATH}\naipSdk=CSharp\ncontent-type:application%2Fjson\nhost:localhost%3A8000"
    header = sign(canonical, names="content-type;host", seconds=1200)
    headers = {"Content-Type": "application/json", "Host": "localhost:8000", "x-bce-date": STAMP}
    check(header, headers, query="aipSdk=CSharp", now=NOW + 1200)
    with pytest.raises(SignatureInvalid):
        check(header, headers, query="aipSdk=CSharp", now=NOW + 1201)


def test_php() -> None:
    canonical = f"POST\n{PATH}\naipSdk=php&aipSdkVersion=2_2_12\nhost:{HOST}\nx-bce-date:{encode(STAMP)}"
    headers = {"Host": HOST, "x-bce-date": STAMP, "Content-Type": "application/x-www-form-urlencoded"}
    check(sign(canonical, names="host;x-bce-date"), headers, query="aipSdk=php&aipSdkVersion=2_2_12")


# --- readings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("signed", "sent"),
    [
        ("a=1&b=2", "b=2&a=1"),
        ("a=&b=2", "a&b=2"),
        ("a=x%20y", "a=x+y"),
        ("a=x%2Fy", "a=x/y"),
        ("", "authorization=whatever"),
        ("a=%E4%BA%BA", "a=%e4%ba%ba"),
    ],
)
def test_the_query_is_read_in_each_usual_way(signed: str, sent: str) -> None:
    check(sign(f"POST\n{PATH}\n{signed}\nhost:{HOST}", names="host"), {"Host": HOST}, query=sent)


def test_a_path_may_be_sent_encoded() -> None:
    check(sign(f"POST\n/a%20b/c\n\nhost:{HOST}", names="host"), {"Host": HOST}, path="/a%20b/c")
    check(sign(f"POST\n/a~b\n\nhost:{HOST}", names="host"), {"Host": HOST}, path="/a%7Eb")


def test_header_names_may_be_listed_in_any_case_and_order() -> None:
    canonical = f"POST\n{PATH}\n\nhost:{HOST}\nx-bce-date:{encode(STAMP)}"
    check(sign(canonical, names="X-BCE-Date;Host"), {"HOST": f" {HOST} ", "X-Bce-Date": STAMP})


# --- refusals -------------------------------------------------------------------------------------------------------

GOOD = sign(f"POST\n{PATH}\n\nhost:{HOST}", names="host")


@pytest.mark.parametrize("late", [-CLOCK_SKEW_SECONDS, 0, 1800])
def test_within_the_window(late: int) -> None:
    check(GOOD, {"Host": HOST}, now=NOW + late)


@pytest.mark.parametrize("late", [-CLOCK_SKEW_SECONDS - 1, 1801, 86_400])
def test_outside_the_window(late: int) -> None:
    with pytest.raises(SignatureInvalid):
        check(GOOD, {"Host": HOST}, now=NOW + late)


def test_a_day_is_the_longest_window() -> None:
    header = sign(f"POST\n{PATH}\n\nhost:{HOST}", names="host", seconds=999_999_999)
    check(header, {"Host": HOST}, now=NOW + 86_400)
    with pytest.raises(SignatureInvalid):
        check(header, {"Host": HOST}, now=NOW + 86_401)


@pytest.mark.parametrize("secret", [None, "", "SKexamplf"])
def test_another_secret_or_none(secret: str | None) -> None:
    with pytest.raises(SignatureInvalid):
        check(GOOD, {"Host": HOST}, secret=secret)


def test_an_unknown_key_cannot_be_used_with_an_empty_secret() -> None:
    prefix = f"bce-auth-v1/{KEY}/{STAMP}/1800"
    key = hmac.new(b"", prefix.encode(), hashlib.sha256).hexdigest()
    forged = hmac.new(key.encode(), f"POST\n{PATH}\n\nhost:{HOST}".encode(), hashlib.sha256).hexdigest()
    for secret in (None, ""):
        with pytest.raises(SignatureInvalid):
            check(f"{prefix}/host/{forged}", {"Host": HOST}, secret=secret)


@pytest.mark.parametrize(
    ("path", "method"), [("/rest/2.0/face/v3/search", "POST"), (PATH, "GET"), (PATH + "/", "POST")]
)
def test_another_call(path: str, method: str) -> None:
    with pytest.raises(SignatureInvalid):
        check(GOOD, {"Host": HOST}, path=path, method=method)


def test_the_host_must_be_signed() -> None:
    with pytest.raises(SignatureInvalid):
        check(
            sign(f"POST\n{PATH}\n\nx-bce-date:{encode(STAMP)}", names="x-bce-date"), {"Host": HOST, "x-bce-date": STAMP}
        )
    with pytest.raises(SignatureInvalid):
        check(sign(f"POST\n{PATH}\n\n", names=""), {})


def test_a_listed_header_must_have_been_sent() -> None:
    with pytest.raises(SignatureInvalid):
        check(sign(f"POST\n{PATH}\n\nhost:{HOST}\nx-bce-date:", names="host;x-bce-date"), {"Host": HOST})


@pytest.mark.parametrize(
    "header",
    [
        "",
        "bce-auth-v1",
        "bce-auth-v1/////",
        "bce-auth-v2" + GOOD.removeprefix("bce-auth-v1"),
        GOOD.replace("/1800/", "/-1/"),
        GOOD.replace("/1800/", "/01800/"),
        GOOD.replace("/1800/", "/1e3/"),
        GOOD.replace("/1800/", "/٣/"),
        GOOD.replace("/host/", "/" + ";".join(["host"] * 33) + "/"),
        GOOD.replace(f"/{KEY}/", "//"),
        GOOD.replace(STAMP, "2026-01-31 13:05:09"),
        GOOD.replace(STAMP, "2026-13-31T13:05:09Z"),
        GOOD + "/more",
        GOOD[:-1],
        GOOD[:-64] + "é" * 64,
    ],
)
def test_malformed_headers(header: str) -> None:
    with pytest.raises(SignatureInvalid):
        check(header, {"Host": HOST})


def test_a_timestamp_that_does_not_parse_is_refused_even_when_signed() -> None:
    header = sign(f"POST\n{PATH}\n\nhost:{HOST}", names="host", stamp="yesterday")
    with pytest.raises(SignatureInvalid):
        check(header, {"Host": HOST})


def test_the_scheme_is_told_by_its_name() -> None:
    assert is_signed(GOOD)
    assert not is_signed(None)
    assert not is_signed("Bearer 24.x")
