"""Hashes of files, and single members taken out of package archives.

A member is written to a path of our choice, never to one that the archive names, so nothing in an archive can reach
another place.
"""

from __future__ import annotations

import hashlib
import shutil
import tarfile
import zipfile
import zlib
from pathlib import Path
from typing import IO

from models.errors import FetchError

CHUNK = 1 << 20
MEMBER_LIMIT = 2 << 30
"""Bytes that one member may unpack to; far above any weights here, far below what fills a disk."""


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while chunk := handle.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def extract_member(archive: Path, member: str, target: Path) -> None:
    """Write the file ``member`` of a zip (wheels are zips) or gzipped tar to ``target``.

    Raises :class:`FetchError` when the archive is damaged, has no such file, or the file is absurdly large.
    """
    unpack = _from_zip if zipfile.is_zipfile(archive) else _from_tar
    try:
        unpack(archive, member, target)
    except KeyError:
        raise FetchError(f"{archive.name} has no file {member}; the pack's manifest does not fit it") from None
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise FetchError(f"{archive.name} is damaged ({error}); fetch again") from None


def _from_zip(archive: Path, member: str, target: Path) -> None:
    with zipfile.ZipFile(archive) as container, container.open(member) as stream:
        _copy(stream, target, f"{archive.name}/{member}")


def _from_tar(archive: Path, member: str, target: Path) -> None:
    with tarfile.open(archive, "r:*") as container:
        stream = container.extractfile(member)  # None for folders and devices; links are resolved inside the archive
        if stream is None:
            raise KeyError(member)
        with stream:
            _copy(stream, target, f"{archive.name}/{member}")


def _copy(stream: IO[bytes], target: Path, label: str) -> None:
    with target.open("wb") as out:
        left = MEMBER_LIMIT
        while chunk := stream.read(CHUNK):
            left -= len(chunk)
            if left < 0:
                raise FetchError(f"{label} unpacks to more than {MEMBER_LIMIT >> 20} MiB; that is no file of ours")
            out.write(chunk)


def copy_file(source: Path, target: Path) -> None:
    """A plain copy of the content, without permissions or times."""
    shutil.copyfile(source, target)
