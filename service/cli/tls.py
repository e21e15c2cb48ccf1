"""``aipface tls``: certificates that let clients talk to this server as if it were the cloud."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.common import effective_settings, print_json
from service.cli.failures import Failure

if TYPE_CHECKING:
    from service.access.certificates import CertificateInfo

tls = typer.Typer(help="Certificates for `aipface serve --tls`.", no_args_is_help=True)

Names = Annotated[
    list[str] | None,
    typer.Option("--name", help="Another name or address of this server; may be given several times."),
]


@tls.command("init")
def init(
    *,
    names: Names = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace what is there: clients must trust the new authority.")
    ] = False,
) -> None:
    """Make a certificate authority, and a certificate for aip.baidubce.com, localhost, 127.0.0.1 and your own names."""
    from service.access import certificates

    folder = effective_settings().tls_folder
    if certificates.is_there(folder / certificates.AUTHORITY_KEY) and not force:
        raise Failure(f"{folder} has an authority already: aipface tls renew keeps it, --force replaces it")
    certificates.create(folder, list(dict.fromkeys([*certificates.USUAL_NAMES, *(names or [])])))
    typer.echo(f"clients have to trust {folder / certificates.AUTHORITY_CERTIFICATE}: docs/clients.md")
    _tell(folder)


@tls.command("renew")
def renew(*, names: Names = None) -> None:
    """Replace the server's certificate; clients notice nothing, since authority and names stay."""
    from service.access import certificates

    folder = effective_settings().tls_folder
    certificates.create(folder, names or [], renew=True)
    typer.echo("the next start of the server uses it", err=True)
    _tell(folder)


@tls.command("show")
def show(*, as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False) -> None:
    """Show names, fingerprints and expiry."""
    from service.access import certificates

    folder = effective_settings().tls_folder
    if not certificates.is_there(folder / certificates.AUTHORITY_CERTIFICATE):
        raise Failure(f"there is no certificate authority in {folder}; aipface tls init makes one")
    if not as_json:
        _tell(folder)
        return
    found = {}
    for name in (certificates.AUTHORITY_CERTIFICATE, certificates.SERVER_CERTIFICATE):
        info = certificates.describe(folder / name)
        found[name] = {
            "path": str(folder / name),
            "names": info.names,
            "sha256": info.fingerprint,
            "expires": info.expires.isoformat(),
            "days_left": info.days_left,
        }
    print_json(found)


def _tell(folder: Path) -> None:
    from service.access import certificates

    authority, server = folder / certificates.AUTHORITY_CERTIFICATE, folder / certificates.SERVER_CERTIFICATE
    used = certificates.describe(server)
    _tell_one(authority, certificates.describe(authority), certificates.making_anew(used.names))
    _tell_one(server, used, "aipface tls renew")


def _tell_one(path: Path, info: CertificateInfo, renewal: str) -> None:
    from service.access.certificates import RENEWAL_DAYS

    typer.echo(str(path))
    typer.echo(f"  {info.subject}" + (f" for {', '.join(info.names)}" if info.names else ""))
    typer.echo(f"  SHA-256 {info.fingerprint}")
    typer.echo(f"  expires {info.expires:%Y-%m-%d}, in {info.days_left} days")
    if info.days_left < RENEWAL_DAYS:
        typer.echo(f"  renew it: {renewal}")
