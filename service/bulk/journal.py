"""What earlier runs found in which picture, so that a second run does not look at it again.

Light: commands that erase use it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import hmac
import os
import secrets
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path

from service.access import private_files
from service.access.keys import Keyring
from service.values import Control

NAME = "imports"
"""Of the folder in the home folder."""

KEY_BYTES = 16
_LOCK = "lock"
_REFUSED = "!"
_ASKED_AT_ONCE = 10_000


def file_name(app_id: str, model_id: str, quality: Control) -> str:
    """Of the journal of an app: what is found and accepted depends on the model and on the control."""
    return f"{app_id}-{model_id}-{quality.value.lower()}.txt"


class Journal:
    """A file of lines ``<keyed digest of the picture> <face token>``, or ``!<reason>`` where no face was accepted.

    It only saves work: whether a face is enrolled is asked of the database each time. The digest needs the master
    key, so that the file tells nobody which pictures were imported. One writer; ``seen`` may be called by any thread.
    """

    def __init__(self, path: Path, keyring: Keyring, app_id: str) -> None:
        """Reads the file if there is one; a line that a crash cut off is passed over."""
        self._path = path
        self._key = keyring.derive("import-journal")[0]
        self._context = app_id.encode() + b"\0"
        self._known: dict[bytes, str] = {}
        self._torn = False
        try:
            text = path.read_text(encoding="ascii", errors="replace")
        except FileNotFoundError:
            return
        self._torn = bool(text) and not text.endswith("\n")
        for line in text.splitlines()[: -1 if self._torn else None]:
            digest, _, found = line.partition(" ")
            if found and len(digest) == 2 * KEY_BYTES and set(digest) <= set("0123456789abcdef"):
                self._known[bytes.fromhex(digest)] = found

    def key(self, picture: bytes) -> bytes:
        """Name of a picture's bytes in this journal."""
        message = self._context + hashlib.sha256(picture).digest()
        return hmac.new(self._key, message, hashlib.sha256).digest()[:KEY_BYTES]

    def seen(self, key: bytes) -> tuple[str | None, str | None]:
        """``(token, None)``, ``(None, reason)``, or ``(None, None)`` for a picture that no run has looked at."""
        found = self._known.get(key)
        if found is None:
            return None, None
        return (None, found[1:]) if found.startswith(_REFUSED) else (found, None)

    def add(self, found: Iterable[tuple[bytes, str | None, str | None]]) -> None:
        """Write down ``(key, token, reason)`` rows, one of the two being ``None``, and bring them to the disk."""
        rows = {key: token if token is not None else f"{_REFUSED}{reason}" for key, token, reason in found}
        fresh = {key: text for key, text in rows.items() if self._known.get(key) != text}
        if not fresh:
            return
        self._known.update(fresh)
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _alone(self._path.parent):  # else an erasure might put a file without them in its place
            descriptor = _opened(self._path, os.O_APPEND)
            with os.fdopen(descriptor, "a", encoding="ascii") as file:
                if self._torn:
                    file.write("\n")
                    self._torn = False
                file.writelines(f"{key.hex()} {text}\n" for key, text in fresh.items())
                file.flush()
                os.fsync(file.fileno())


class ImportJournals:
    """The journals of every app below one home; satisfies ``service.library.erasure.Journals``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def forget(self, app_id: str, enrolled: Callable[[Sequence[str]], Collection[str]]) -> int:
        """Delete the lines of an app that are not of an enrolled face; returns how many those were.

        Of a picture that was refused nobody can tell whose it is: these lines go too. One at a time: other erasures,
        and imports that want to write down something, wait.
        """
        if not self._folder.is_dir():
            return 0
        with _alone(self._folder):
            for draft in self._folder.glob(f"{app_id}-*.txt.*"):  # of an erasure that did not come to its end
                draft.unlink()
            return sum(_forget(path, enrolled) for path in self._folder.glob(f"{app_id}-*.txt"))


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Nobody else changes journals of this folder meanwhile; waits its turn."""
    lock = _opened(folder / _LOCK)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)  # which NFS grants on files alone
        yield
    finally:
        os.close(lock)


def _opened(path: Path, flags: int = 0) -> int:
    """Descriptor of a file to write, made where it is not there, for the folder's owner alone."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | flags, 0o600)
    private_files.give(descriptor, path.parent)
    return descriptor


def _forget(path: Path, enrolled: Callable[[Sequence[str]], Collection[str]]) -> int:
    lines = path.read_text(encoding="ascii", errors="replace").splitlines()
    kept: list[str] = []
    for start in range(0, len(lines), _ASKED_AT_ONCE):
        tokens = {line: line.partition(" ")[2] for line in lines[start : start + _ASKED_AT_ONCE]}
        there = set(enrolled(list(tokens.values())))
        kept += (line for line, token in tokens.items() if token in there)
    if not kept:
        path.unlink(missing_ok=True)
    elif len(kept) < len(lines):
        draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
        with os.fdopen(_opened(draft, os.O_EXCL), "w", encoding="ascii") as file:
            file.writelines(f"{line}\n" for line in kept)
        draft.replace(path)
    return len(lines) - len(kept)
