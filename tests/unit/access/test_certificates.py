"""The operator's own certificates, judged by OpenSSL and not by what made them."""

from __future__ import annotations

import os
import socket
import ssl
import stat
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from service.access import certificates
from service.access.certificates import CertificateError, create, describe, is_there

NAMES = ["aip.baidubce.com", "127.0.0.1", "bücher.example"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("certificates") / "tls"
    create(made, NAMES)
    return made


def accepted(folder: Path, authority: Path, name: str) -> bool:
    """Whether a client that trusts ``authority`` alone accepts the server's certificate for ``name``."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "server.pem", folder / "server.key")
    client = ssl.create_default_context(cafile=str(authority))
    here, there = socket.socketpair()

    def answer() -> None:
        with suppress(ssl.SSLError, OSError), server.wrap_socket(there, server_side=True) as secure:
            secure.recv(1)

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        with client.wrap_socket(here, server_hostname=name):
            return True
    except ssl.SSLCertVerificationError:
        return False
    finally:
        here.close()
        thread.join()
        there.close()


def test_every_name_is_accepted_and_no_other(folder: Path) -> None:
    for name in NAMES:
        assert accepted(folder, folder / "ca.pem", name)
    assert not accepted(folder, folder / "ca.pem", "example.org")


def test_nobody_else_reads_the_keys(folder: Path) -> None:
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert len(list(folder.iterdir())) == 4


def test_the_authority_may_sign_for_its_names_only(folder: Path, tmp_path: Path) -> None:
    """Also one who has stolen its key cannot speak for others to clients that trust it."""
    key = certificates._key(folder / "ca.key")
    authority = certificates._certificate(folder / "ca.pem")
    forged = ec.generate_private_key(ec.SECP256R1())
    signed = certificates._signed(forged, ["bank.example"], authority, key)
    (tmp_path / "server.pem").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    (tmp_path / "server.key").write_bytes(certificates._pem(forged))
    assert not accepted(tmp_path, folder / "ca.pem", "bank.example")


def test_renewal_keeps_the_authority_and_its_bounds(tmp_path: Path) -> None:
    with pytest.raises(CertificateError, match="no certificate authority"):
        create(tmp_path, [], renew=True)
    create(tmp_path, NAMES)
    trusted = (tmp_path / "ca.pem").read_bytes()
    before = describe(tmp_path / "server.pem")
    create(tmp_path, [], renew=True)
    after = describe(tmp_path / "server.pem")
    assert after.fingerprint != before.fingerprint
    assert after.names == before.names == (NAMES[0], NAMES[1], "xn--bcher-kva.example")
    assert (tmp_path / "ca.pem").read_bytes() == trusted
    assert accepted(tmp_path, tmp_path / "ca.pem", NAMES[0])
    with pytest.raises(CertificateError, match=r"for bank.example; .* --name xn--bcher-.* --name bank.example$"):
        create(tmp_path, ["bank.example"], renew=True)


def test_a_name_of_a_renewal_takes_none_away(tmp_path: Path) -> None:
    create(tmp_path, NAMES)
    before = describe(tmp_path / "server.pem").names
    create(tmp_path, ["Bücher.example"], renew=True)
    assert describe(tmp_path / "server.pem").names == before


def test_what_is_no_certificate_is_told(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    for path in (tmp_path / "ca.pem", tmp_path / "absent.pem"):
        with pytest.raises(CertificateError, match="cannot be read"):
            describe(path)
    for names in ([], ["a..b"]):
        with pytest.raises(CertificateError):
            create(tmp_path / "new", names)


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user for a moment")
def test_what_another_user_owns_is_told() -> None:
    with tempfile.TemporaryDirectory() as made:  # pytest's own folders are closed to others
        home = Path(made)
        home.chmod(0o755)
        create(home / "tls", NAMES)
        os.seteuid(65534)
        try:
            with pytest.raises(CertificateError, match=r"folder .* cannot be read: Permission denied"):
                is_there(home / "tls" / "server.pem")
            with pytest.raises(CertificateError, match="cannot be written: Permission denied"):
                create(home, NAMES)
        finally:
            os.seteuid(0)
