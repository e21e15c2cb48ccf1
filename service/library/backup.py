"""Backups: one file with the database as of one moment and the files that belong to it, encrypted on wish.

The file begins with ``aipface backup 1`` and one line of JSON: when and by which release it was made, its schema, how
it is encrypted, and a mark of the master key that says nothing of the key. Records follow, each a letter, four bytes
of length and its content: ``J`` for JSON, ``D`` for data. The last record holds the SHA-256 of everything before it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import IO, Any, Protocol

import service
from service.access.keys import Keyring
from service.access.sealed_stream import OpeningReader, SealingWriter, StreamError, stream_key
from service.storage import backup
from service.storage.backup import BackupError, TableDump, Unfitting
from service.storage.engine import Database

MAGIC = b"aipface backup 1\n"
KEY_FILE = "secret.key"
_MOST_HEAD = 65_536
_MOST_RECORD = 2**30
_MARK_BYTES = 8


@dataclass(frozen=True, slots=True)
class Head:
    """What a backup says of itself in plain; ``sealed`` tells how its key is made, ``None`` for one in plain."""

    created: str
    version: str
    schema: str
    postgres: int
    key_mark: str
    holds_key: bool
    """Whether the master key is among the files."""
    sealed: dict[str, Any] | None
    line: bytes

    @property
    def wants(self) -> str | None:
        """What it is encrypted with: ``passphrase``, ``key``, or nothing."""
        if self.sealed is None:
            return None
        return "passphrase" if self.sealed.get("kdf") == "scrypt" else "key"


@dataclass(frozen=True, slots=True)
class Contents:
    """What was written or read: rows of each table as bytes, and the names of files."""

    tables: Mapping[str, int]
    files: tuple[str, ...]


class _Out(Protocol):
    def write(self, data: bytes, /) -> object: ...


class _Source(Protocol):
    def read(self, size: int, /) -> bytes: ...


def key_marks(keyring: Keyring) -> list[str]:
    """Of each master key, the current one first: tells them apart and nothing about them."""
    return [hashlib.sha256(key).digest()[:_MARK_BYTES].hex() for key in keyring.derive("backup-mark")]


def write(
    database: Database,
    keyring: Keyring,
    out: IO[bytes],
    *,
    files: Mapping[str, bytes],
    sealed: dict[str, Any] | None = None,
    secret: bytes = b"",
) -> Contents:
    """Write a backup, while servers go on; that it was made stands in the audit log.

    ``files`` go with it, by name; ``sealed`` and ``secret`` are for ``stream_key``. Raises ``DatabaseUnavailable``.
    """
    with backup.snapshot(database) as found:
        head = {
            "created": datetime.now(timezone.utc).isoformat(),
            "version": service.__version__,
            "schema": found.schema,
            "postgres": found.release(),
            "key_mark": key_marks(keyring)[0],
            "holds_key": KEY_FILE in files,
            "sealed": sealed,
        }
        line = json.dumps(head).encode() + b"\n"
        out.write(MAGIC + line)
        sealing = None if sealed is None else SealingWriter(out, stream_key(sealed, secret), line)
        records = _Writer(sealing or out, line)
        records.json({"sequences": found.sequences()})
        tables: dict[str, int] = {}
        for dump in found.tables():
            records.json({"table": dump.name, "columns": dump.columns})
            tables[dump.name] = sum(map(records.data, dump.blocks))
        for name, content in files.items():
            records.json({"file": name})
            records.data(content)
        records.end()
        if sealing is not None:
            sealing.close()
    with database.admin() as work:
        work.audit.record("backup", {"sealed": sealed is not None, "key": KEY_FILE in files})
    return Contents(tables, tuple(files))


def read_head(source: IO[bytes]) -> Head:
    """What a backup says of itself; leaves the source where the records begin. Raises :class:`BackupError`."""
    if source.read(len(MAGIC)) != MAGIC:
        raise BackupError("this is no backup of aipface-server, or one of another format")
    line = source.readline(_MOST_HEAD)
    try:
        head = json.loads(line)
        names = ("created", "version", "schema", "postgres", "key_mark", "holds_key", "sealed")
        values = {name: head[name] for name in names}
    except (ValueError, KeyError, TypeError):
        raise BackupError("the head of the backup is damaged") from None
    return Head(line=line, **values)


def restore(
    source: IO[bytes], head: Head, secret: bytes, url: str, keep: Callable[[Mapping[str, bytes]], None]
) -> Contents:
    """Put a backup into an empty database, and its files, by name, where ``keep`` puts them.

    ``keep`` is called after everything was read and the checksum was right, and before the database is committed. In
    the other order a power cut could leave a full database without the key to open it. If it is interrupted in between,
    the files stay and the next restore finds them.

    Raises :class:`BackupError` for a damaged backup and for one that does not fit. The database stays empty then, and
    also where ``keep`` raises.
    """
    try:
        opened = source if head.sealed is None else OpeningReader(source, stream_key(head.sealed, secret), head.line)
        records = _Reader(opened, head.line)
        with backup.restoring(url, head.schema) as restoring:
            try:
                contents, files = _fill(records, restoring)
            except Unfitting:
                records.check()  # what is damaged fits nowhere, and is to be called so
                raise
            keep(files)
    except StreamError as error:
        raise BackupError(str(error)) from None
    return contents


def check(source: IO[bytes], head: Head, secret: bytes) -> Contents:
    """Read a backup to its end and check every sum; changes nothing. Raises :class:`BackupError`."""
    return _read(source, head, secret)[0]


def files(source: IO[bytes], head: Head, secret: bytes) -> dict[str, bytes]:
    """The files of a backup by name, which is read to its end and checked likewise. Raises :class:`BackupError`."""
    return _read(source, head, secret)[1]


def _read(source: IO[bytes], head: Head, secret: bytes) -> tuple[Contents, dict[str, bytes]]:
    try:
        opened = source if head.sealed is None else OpeningReader(source, stream_key(head.sealed, secret), head.line)
        return _fill(_Reader(opened, head.line), None)
    except StreamError as error:
        raise BackupError(str(error)) from None


def _fill(records: _Reader, restoring: backup.Restoring | None) -> tuple[Contents, dict[str, bytes]]:
    """Read every record in turn; rows go into the database if there is one."""
    tables: dict[str, int] = {}
    files: dict[str, bytes] = {}
    sequences: dict[str, int] = {}
    while (content := records.next_json()) is not None:
        match content:
            case {"table": str(name), "columns": [*columns]}:
                blocks = _counted(records.blocks(), tables, name)
                if restoring is None:
                    for _ in blocks:
                        pass
                else:
                    restoring.table(TableDump(name, tuple(columns), blocks))
            case {"file": str(name)}:
                files[name] = b"".join(records.blocks())
            case {"sequences": dict(numbers)}:
                sequences = numbers
            case _:
                raise BackupError("the backup is damaged")
    if restoring is not None:
        for name, last in sequences.items():
            restoring.sequence(name, last)
    return Contents(tables, tuple(files)), files


def _counted(blocks: Iterator[bytes], tables: dict[str, int], name: str) -> Iterator[bytes]:
    tables[name] = 0
    for block in blocks:
        tables[name] += len(block)
        yield block


class _Writer:
    """Writes records and sums them up."""

    def __init__(self, out: _Out, head: bytes) -> None:
        self._out = out
        self._sum = hashlib.sha256(head)

    def json(self, content: Mapping[str, object]) -> None:
        self._record(b"J", json.dumps(content).encode())

    def data(self, content: bytes) -> int:
        """Returns the size."""
        self._record(b"D", content)
        return len(content)

    def end(self) -> None:
        digest = self._sum.hexdigest()
        self._record(b"J", json.dumps({"sha256": digest}).encode())

    def _record(self, kind: bytes, content: bytes) -> None:
        record = kind + len(content).to_bytes(4, "big") + content
        self._sum.update(record)
        self._out.write(record)


class _Reader:
    """Reads records in turn and checks the sum at the end."""

    def __init__(self, source: _Source, head: bytes) -> None:
        self._source = source
        self._sum = hashlib.sha256(head)
        self._before = ""
        self._next: tuple[bytes, bytes] | None = None
        self._ended = False

    def next_json(self) -> dict[str, Any] | None:
        """The next JSON; ``None`` after the last, whose sum was right. Raises :class:`BackupError`."""
        kind, content = self._record()
        if kind != b"J":
            raise BackupError("the backup is damaged")
        try:
            found = json.loads(content)
        except ValueError:
            raise BackupError("the backup is damaged") from None
        if not isinstance(found, dict):
            raise BackupError("the backup is damaged")
        if "sha256" not in found:
            return found
        if found["sha256"] != self._before or self._source.read(1):
            raise BackupError("the backup is damaged: its sum is wrong")
        self._ended = True
        return None

    def check(self) -> None:
        """Read what is left, to the sum at the end. Raises :class:`BackupError` where it is wrong."""
        if self._ended:
            return
        for _ in self.blocks():
            pass
        while self.next_json() is not None:
            for _ in self.blocks():
                pass

    def blocks(self) -> Iterator[bytes]:
        """The data that follow."""
        while True:
            kind, content = self._record()
            if kind != b"D":
                self._next = (kind, content)
                return
            yield content

    def _record(self) -> tuple[bytes, bytes]:
        if self._next is not None:
            record, self._next = self._next, None
            return record
        start = self._source.read(5)
        size = int.from_bytes(start[1:], "big")
        content = self._source.read(size) if len(start) == 5 and size <= _MOST_RECORD else b""
        if len(start) != 5 or len(content) != size:
            raise BackupError("the backup is damaged or cut off")
        self._before = self._sum.hexdigest()
        self._sum.update(start + content)
        return start[:1], content
