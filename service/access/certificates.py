"""A certificate authority of the operator's own, and the server's certificate that it signs.

Clients reach this server under the name ``aip.baidubce.com`` over TLS only if they trust an authority that has signed a
certificate for that name. Such an authority's key is dangerous, so each home has its own, name constraints (RFC 5280,
4.2.1.10) restrict it to the operator's names, and the key never leaves the folder.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from service.access import private_files

CLOUD_HOST = "aip.baidubce.com"
"""Where every SDK believes the API to be."""
USUAL_NAMES = (CLOUD_HOST, "localhost", "127.0.0.1")
"""Names that every server certificate has; the operator's own come after them."""

AUTHORITY_CERTIFICATE, AUTHORITY_KEY = "ca.pem", "ca.key"
SERVER_CERTIFICATE, SERVER_KEY = "server.pem", "server.key"

AUTHORITY_DAYS = 3650
SERVER_DAYS = 397
"""No client accepts more of a server's certificate than 825 days, and browsers 398."""
RENEWAL_DAYS = 30
"""A certificate with fewer days left ought to be renewed."""

_SETBACK = timedelta(hours=1)
"""Certificates are valid from this long before now, for clients whose clock is behind."""

Key = ec.EllipticCurvePrivateKey


class CertificateError(Exception):
    """A certificate or key is missing or malformed; the text is one sentence for the operator."""


@dataclass(frozen=True, slots=True)
class CertificateInfo:
    """What an operator wants to know of a certificate; ``fingerprint`` is SHA-256 as pairs of hex digits."""

    subject: str
    names: tuple[str, ...]
    fingerprint: str
    expires: datetime

    @property
    def days_left(self) -> int:
        """Whole days, negative once it has expired."""
        return (self.expires - datetime.now(timezone.utc)).days

    @property
    def end(self) -> str:
        """The expiry as words that follow the certificate's name in a sentence."""
        return f"expires in {self.days_left} days" if self.days_left >= 0 else "has expired"


def create(folder: Path, names: Sequence[str], *, renew: bool = False) -> None:
    """Make an authority unless there is one, and a server certificate for ``names``.

    ``renew`` keeps the authority, which clients trust, and replaces the server's certificate, whose names stay:
    ``names`` are further ones. Raises ``CertificateError``: for what is no name, and when renewing where there are no
    certificates or for a name that the authority may not sign for.
    """
    if renew:
        if not is_there(folder / AUTHORITY_KEY):
            raise CertificateError(f"there is no certificate authority in {folder}; aipface tls init makes one")
        authority, key = _certificate(folder / AUTHORITY_CERTIFICATE), _key(folder / AUTHORITY_KEY)
        present = _names(_certificate(folder / SERVER_CERTIFICATE))
        wanted = list(dict.fromkeys([*present, *(str(_general_name(name).value) for name in names)]))
        outside = set(wanted) - set(_permitted(authority))
        if outside:
            listed = ", ".join(sorted(outside))
            raise CertificateError(f"the authority may not sign for {listed}; a new one may: {making_anew(wanted)}")
    else:
        wanted = list(names)
        if not wanted:
            raise CertificateError("a certificate needs at least one name")
        key = ec.generate_private_key(ec.SECP256R1())
        authority = _authority(key, wanted)
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            private_files.make_folder(folder)
        except OSError as error:
            raise CertificateError(f"the folder {folder} cannot be made: {error.strerror}") from None
        _write(folder / AUTHORITY_KEY, _pem(key))
        _write(folder / AUTHORITY_CERTIFICATE, authority.public_bytes(serialization.Encoding.PEM))
    own = ec.generate_private_key(ec.SECP256R1())
    signed = _signed(own, wanted, authority, key)
    _write(folder / SERVER_KEY, _pem(own))
    chain = signed.public_bytes(serialization.Encoding.PEM) + authority.public_bytes(serialization.Encoding.PEM)
    _write(folder / SERVER_CERTIFICATE, chain)


def making_anew(names: Sequence[str]) -> str:
    """The command that makes a new authority and a certificate for the same ``names``."""
    return " ".join(["aipface tls init --force", *(f"--name {name}" for name in names if name not in USUAL_NAMES)])


def is_there(path: Path) -> bool:
    """Whether there is such a file. Raises ``CertificateError`` where its folder keeps that secret."""
    try:
        return path.exists()
    except OSError as error:
        raise CertificateError(f"the folder {path.parent} cannot be read: {_reason(error)}") from None


def describe(path: Path) -> CertificateInfo:
    """The first certificate of a PEM file. Raises ``CertificateError``."""
    certificate = _certificate(path)
    digest = certificate.fingerprint(hashes.SHA256()).hex(":").upper()
    subject = certificate.subject.rfc4514_string()
    return CertificateInfo(subject, _names(certificate), digest, certificate.not_valid_after_utc)


def _authority(key: Key, names: Sequence[str]) -> x509.Certificate:
    # The number tells authorities apart in a client's list.
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"aipface local CA {secrets.token_hex(4)}")])
    allowed = [_constraint(name) for name in names]
    return (
        _builder(subject, subject, key, AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.NameConstraints(permitted_subtrees=allowed, excluded_subtrees=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def _signed(own: Key, names: Sequence[str], authority: x509.Certificate, key: Key) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
    return (
        _builder(subject, authority.subject, own, SERVER_DAYS)
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(own.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def _builder(subject: x509.Name, issuer: x509.Name, key: Key, days: int) -> x509.CertificateBuilder:
    now = datetime.now(timezone.utc)
    return x509.CertificateBuilder(
        issuer_name=issuer,
        subject_name=subject,
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=now - _SETBACK,
        not_valid_after=now + timedelta(days=days),
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(name: str) -> x509.GeneralName:
    with contextlib.suppress(ValueError):
        return x509.IPAddress(ipaddress.ip_address(name))
    try:
        return x509.DNSName(name.encode("idna").decode("ascii").lower())
    except UnicodeError:
        raise CertificateError(f"{name!r} is no name of a host") from None


def _constraint(name: str) -> x509.GeneralName:
    with contextlib.suppress(ValueError):
        return x509.IPAddress(ipaddress.ip_network(name))
    return _general_name(name)


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return ()
    return tuple(str(name.value) for name in extension.value)


def _permitted(authority: x509.Certificate) -> tuple[str, ...]:
    extension = authority.extensions.get_extension_for_class(x509.NameConstraints).value
    return tuple(str(name.value).partition("/")[0] for name in extension.permitted_subtrees or ())


def _certificate(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError) as error:
        raise CertificateError(f"the certificate {path} cannot be read: {_reason(error)}") from None


def _key(path: Path) -> Key:
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise CertificateError(f"the key {path} cannot be read: {_reason(error)}") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise CertificateError(f"the key {path} is of another kind than ours")
    return key


def _reason(error: Exception) -> str:
    return error.strerror or "" if isinstance(error, OSError) else "it is no PEM of the expected kind"


def _pem(key: Key) -> bytes:
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all, readable by the owner alone. Raises ``CertificateError``."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(private_files.created(draft, path), "wb") as file:
            file.write(content)
        draft.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise CertificateError(f"{path} cannot be written: {_reason(error)}") from None
