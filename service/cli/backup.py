"""``aipface backup`` and ``aipface restore``: everything in one file, and back."""

from __future__ import annotations

import contextlib
import re
import sys
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from service.cli.common import (
    administration,
    can_ask,
    commanded,
    database_address,
    effective_settings,
    written_privately,
)
from service.cli.failures import MISUSED, Failure

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from service.administration import Admin
    from service.library.backup import Contents, Head
    from service.settings import Settings

STANDARD = Path("-")
"""Stands for standard input or output."""

PassphraseFile = Annotated[
    Path | None,
    typer.Option(help="File whose first line is the passphrase; `-` is standard input, in front of a backup there."),
]
KeyFile = Annotated[
    Path | None,
    typer.Option(help="File with a key: 32 bytes as base64 or 64 hexadecimal digits; `-` as for a passphrase."),
]

_TABLES = re.compile(r"calibration/[\w.-]{1,200}\.json", re.ASCII)


def backup(
    out: Annotated[Path, typer.Argument(help="File to write; `-` is standard output.")],
    *,
    encrypt: Annotated[bool, typer.Option("--encrypt", help="Encrypt; asks for a passphrase.")] = False,
    passphrase_file: PassphraseFile = None,
    key_file: KeyFile = None,
    with_key: Annotated[
        bool, typer.Option("--with-key", help="With the master key, so that nothing else is needed; only encrypted.")
    ] = False,
) -> None:
    """Write a backup while servers go on: the database as of one moment, and the operator's own score tables."""
    from service.access import sealed_stream
    from service.library import backup as backups

    secret, kind = _secret(passphrase_file, key_file, ask=encrypt)
    sealed: dict[str, Any] | None = None
    if kind is not None:
        sealed = sealed_stream.key_parameters() if kind == "key" else sealed_stream.passphrase_parameters()
    if with_key and sealed is None:
        raise Failure("the master key goes into an encrypted backup only: --encrypt, or name a file", MISUSED)
    with administration() as admin, written_privately(out) as file:
        files = _files(admin, with_key=with_key)
        contents = backups.write(admin.database, admin.keyring, file, files=files, sealed=sealed, secret=secret)
    _tell("written", contents)
    if not with_key:
        typer.echo("the master key is not in it: keep it apart, without it the backup is of little use", err=True)


def restore(
    source: Annotated[Path, typer.Argument(metavar="IN", help="The backup; `-` is standard input.")],
    *,
    passphrase_file: PassphraseFile = None,
    key_file: KeyFile = None,
    check: Annotated[bool, typer.Option("--check", help="Only read it to its end and check its sums.")] = False,
    any_key: Annotated[
        bool,
        typer.Option("--any-key", help="Go on with another master key: app keys and encrypted pictures are lost."),
    ] = False,
    key_to: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Only write the master key that the backup carries to a new FILE (`-` is standard output).",
        ),
    ] = None,
) -> None:
    """Put a backup into an empty database. Servers of that database must not run."""
    from service.administration import make_home
    from service.library import backup as backups
    from service.logs import configure_logging

    if key_to is not None and (check or any_key):
        raise Failure("--key-to writes the key and nothing else: leave out --check and --any-key", MISUSED)
    settings = effective_settings()
    configure_logging("warning", settings.log_format)
    ahead = STANDARD in (passphrase_file, key_file)  # on standard input the secret stands in front of the backup
    given = _secret(passphrase_file, key_file, ask=False) if ahead else None
    with _opened(source) as file:
        head = backups.read_head(file)
        if key_to is not None:
            _check_place(key_to, head)
        secret, _ = given or _secret(passphrase_file, key_file, ask=head.wants == "passphrase", confirm=False)
        if head.wants is not None and not secret:
            raise Failure("the backup is encrypted with a key: name its file with --key-file", MISUSED)
        if head.wants is None and secret:
            typer.echo("the backup is not encrypted: whoever has the file can read it without what you named", err=True)
        if key_to is not None:
            _write_key(key_to, backups.files(file, head, secret))
            return
        if check:
            _tell("sound", backups.check(file, head, secret))
            return
        make_home(settings)
        if not any_key:
            _check_key(settings, head)
        with database_address(settings) as address:
            contents = backups.restore(file, head, secret, address, partial(_keep, settings, head, any_key=any_key))
            _note(settings, head)
    _tell("restored", contents)


def _note(settings: Settings, head: Head) -> None:
    from service.administration import open_admin

    with commanded(), open_admin(settings) as admin, admin.database.admin() as work:
        work.audit.record("restore", {"created": head.created, "version": head.version})


def _secret(
    passphrase_file: Path | None, key_file: Path | None, *, ask: bool, confirm: bool = True
) -> tuple[bytes, str | None]:
    """What to encrypt or decrypt with, and which kind it is."""
    from service.access.keys import decode_key

    if passphrase_file is not None and key_file is not None:
        raise Failure("a passphrase or a key, not both", MISUSED)
    try:
        if key_file is not None:
            return decode_key(_text(key_file, "ascii")), "key"
        if passphrase_file is not None:
            lines = _text(passphrase_file, "utf-8").splitlines()
            if not lines or not lines[0]:
                raise Failure(f"{passphrase_file} has no passphrase on its first line", MISUSED)
            return lines[0].encode(), "passphrase"
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(f"{key_file or passphrase_file} cannot be read: {error}") from None
    if ask:
        if not can_ask():
            raise Failure(
                "there is no terminal to ask for the passphrase at: name its file with --passphrase-file"
                " (`-` for what is piped)",
                MISUSED,
            )
        asked: str = typer.prompt("passphrase", hide_input=True, confirmation_prompt=confirm, err=True)
        return asked.encode(), "passphrase"
    return b"", None


def _text(file: Path, encoding: str) -> str:
    """A file with a secret; of standard input the first line alone, for a backup may follow it there.

    Raises ``OSError``, ``UnicodeDecodeError``, and ``Failure`` where that line goes on with the backup: a file without
    a newline at its end was good enough to make it, and would else be said to belong to no backup.
    """
    from service.library.backup import MAGIC

    if file != STANDARD:
        return file.read_bytes().decode(encoding)
    line = _standard_input().readline()
    if line.endswith(MAGIC):
        raise Failure("on standard input the passphrase or key needs a line of its own in front of the backup", MISUSED)
    return line.decode(encoding)


def _standard_input() -> IO[bytes]:
    if sys.stdin is None:  # closed before we began
        raise Failure("standard input is closed")
    return sys.stdin.buffer


@contextlib.contextmanager
def _opened(source: Path) -> Iterator[IO[bytes]]:
    """The backup to read, from standard input where that is meant. Raises ``Failure``."""
    if source == STANDARD:
        given = _standard_input()
        if given.isatty():
            raise Failure(
                "the backup is expected on standard input, which is the terminal: aipface restore - < FILE", MISUSED
            )
        yield given
        return
    try:
        file = source.open("rb")
    except OSError as error:
        raise Failure(f"{source} cannot be read: {error.strerror}") from None
    with file:
        yield file


def _check_place(key_to: Path, head: Head) -> None:
    """Before all of the backup is read: whether it has a master key, and whether that can have this name."""
    if not head.holds_key:
        raise Failure("the backup does not hold its master key: it was made without --with-key")
    try:
        taken = key_to != STANDARD and (key_to.exists() or key_to.is_symlink())
    except OSError as error:  # a folder that keeps its names to itself
        raise Failure(f"{key_to} cannot be written: {error.strerror}") from None
    if taken:
        raise Failure(f"{key_to} is there already and is left as it is: name a file that is not", MISUSED)


def _write_key(key_to: Path, files: Mapping[str, bytes]) -> None:
    """The master key that a backup carries, one key a line, to a new file for its owner alone. Raises ``Failure``."""
    from service.access import private_files
    from service.library.backup import KEY_FILE

    if KEY_FILE not in files:
        raise Failure("the backup does not hold its master key, although its head says so")
    if key_to == STANDARD:
        with written_privately(key_to) as out:
            out.write(files[KEY_FILE])
    else:
        try:
            private_files.put_new(key_to, files[KEY_FILE])
        except OSError as error:
            raise Failure(f"{key_to} cannot be written: {error.strerror}") from None
    typer.echo("the master key was written, and nothing was put back", err=True)


def _files(admin: Admin, *, with_key: bool) -> dict[str, bytes]:
    """What is needed besides the database."""
    from service.library.backup import KEY_FILE

    home = admin.settings.home
    files = {f"calibration/{path.name}": path.read_bytes() for path in sorted(home.glob("calibration/*.json"))}
    if with_key:
        given = admin.settings.secret_key
        files[KEY_FILE] = (
            admin.settings.secret_key_file.read_bytes()
            if given is None
            else "".join(f"{key}\n" for key in given.get_secret_value().split()).encode()
        )
    return files


def _check_key(settings: Settings, head: Head) -> None:
    """Before anything is done: whether what is encrypted in the backup could be read here."""
    from service.administration import has_key, open_keyring
    from service.library.backup import key_marks

    if not has_key(settings):
        if not head.holds_key:
            place = settings.secret_key_file
            raise Failure(f"the backup does not hold its master key: put it into {place} first, or say --any-key")
    elif head.key_mark not in key_marks(open_keyring(settings)):
        if head.holds_key and settings.secret_key is None:
            raise Failure("the master key here is not the one of the backup, which brings its own: take a new home")
        if head.holds_key:
            raise Failure(
                "AIPFACE_SECRET_KEY is not the master key of the backup, which carries that: "
                "aipface restore --key-to FILE writes it to a file; set that one, then restore"
            )
        raise Failure("the master key here is not the one of the backup: put that in its place, or say --any-key")


def _keep(settings: Settings, head: Head, files: Mapping[str, bytes], *, any_key: bool) -> None:
    """Put the files of the backup into their places, the key last; one that is there stays.

    Raises ``Failure``, and nothing of the backup is in the database then.
    """
    from service.access import private_files
    from service.administration import has_key, open_keyring
    from service.library.backup import KEY_FILE

    if not any_key:
        _check_key(settings, head)  # again: a server that was started here meanwhile has made one
    path = settings.secret_key_file
    try:
        for name in filter(_TABLES.fullmatch, files):
            path = settings.home / name
            private_files.make_folder(path.parent)
            private_files.put(path, files[name])
        path = settings.secret_key_file
        if KEY_FILE in files and not has_key(settings):
            private_files.put_new(path, files[KEY_FILE])
    except OSError as error:
        raise Failure(f"{path} cannot be written: {error.strerror}; nothing was restored") from None
    if any_key:
        open_keyring(settings)  # which makes one where there is none: nothing that is sealed opens anyway


def _tell(done: str, contents: Contents) -> None:
    total = sum(contents.tables.values()) / 2**20
    typer.echo(f"{done}: {len(contents.tables)} tables, {total:.1f} MiB, {len(contents.files)} files", err=True)
