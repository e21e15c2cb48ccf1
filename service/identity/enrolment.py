"""Entering people into the register: one, or everybody of a list."""

from __future__ import annotations

import csv
import enum
import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from service.errors import IdentityError, IdNumberMalformed, ParameterMalformed, ServiceUnavailable
from service.identity.claims import Claim, Validity, masked_number, tidied
from service.identity.portraits import Looker, describe
from service.identity.register import Person, Register
from service.identity.validity import validity_of
from service.images.endings import PICTURE_ENDINGS
from service.values import App

COLUMNS = ("id_card_number", "name", "valid_from", "valid_to", "picture")
"""Of a list, in any order; the first two must be there."""

MOST_PICTURE_BYTES = 20 * 2**20

_AT_ONCE = 64
"""Rows whose outcome is waited for together."""


class Outcome(str, enum.Enum):
    """What became of a row."""

    ENTERED = "entered"
    UNCHANGED = "unchanged"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a list as it was read; ``line`` counts from 1, the heading's."""

    line: int
    values: dict[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one row; ``number`` is masked, ``reason`` tells why it was refused."""

    line: int
    number: str
    outcome: Outcome
    reason: str = ""


class ListMalformed(Exception):
    """A list cannot be read at all; the text is one sentence for the operator."""


class Enrolment:
    """Writes people into the register with what recognition makes of their pictures."""

    def __init__(self, register: Register, looker: Looker, *, keep_portraits: bool) -> None:
        self._register = register
        self._looker = looker
        self._keep_portraits = keep_portraits

    def enter(self, claim: Claim, validity: Validity | None, picture: bytes | None, app: App | None = None) -> Outcome:
        """Enter somebody, or replace what is known of a person; nothing is done for what was entered like this before.

        Raises ``ReferencePicturePoor`` for a picture that cannot be compared with.
        """
        fingerprint = self._fingerprint(claim, validity, picture)
        if self._register.fingerprint_of(claim.number, app) == fingerprint:
            return Outcome.UNCHANGED
        known = None if picture is None else describe(self._looker, picture, keep_portrait=self._keep_portraits)
        self._register.put(Person(claim, validity, known), fingerprint, app)
        return Outcome.ENTERED

    def enter_all(
        self, rows: Sequence[Row], pictures: Path | None, app: App | None = None, *, threads: int = 1
    ) -> Iterator[Result]:
        """Enter everybody of a list, in its order. One that cannot be entered does not stop the others.

        ``pictures`` is the folder that files are looked for in; nothing outside it is read. A number that stands in
        the list twice is refused the second time. Raises ``ServiceUnavailable`` when the database goes away: what was
        told until then is done, and doing it again skips it.
        """
        seen: dict[str, int] = {}
        remaining = iter(rows)
        with ThreadPoolExecutor(threads) as pool:
            while batch := list(islice(remaining, _AT_ONCE)):
                first = [seen.setdefault(tidied(row.values["id_card_number"]), row.line) for row in batch]
                yield from pool.map(lambda row, line: self._enter_row(row, line, pictures, app), batch, first)

    def enter_row(self, row: Row, picture: Callable[[Claim], bytes | None], app: App | None = None) -> Result:
        """Enter the person of one row, with the picture that ``picture`` finds; what is wrong is told, not raised.

        Raises ``ServiceUnavailable``, and ``Overloaded``.
        """
        number = masked_number(tidied(row.values["id_card_number"]))
        try:
            claim = Claim.of(row.values["id_card_number"], row.values["name"])
            validity = _validity(row.values)
            outcome = self.enter(claim, validity, picture(claim), app)
        except ServiceUnavailable:
            raise
        except (IdentityError, ParameterMalformed) as error:
            return Result(row.line, number, Outcome.REFUSED, _reason(error))
        return Result(row.line, number, outcome)

    def _enter_row(self, row: Row, first: int, pictures: Path | None, app: App | None) -> Result:
        if first != row.line:
            number = masked_number(tidied(row.values["id_card_number"]))
            repeated = IdNumberMalformed(f"the number stands in line {first} already")
            return Result(row.line, number, Outcome.REFUSED, _reason(repeated))
        return self.enter_row(row, lambda claim: _picture(row.values, claim, pictures), app)

    def _fingerprint(self, claim: Claim, validity: Validity | None, picture: bytes | None) -> bytes:
        term = "" if validity is None else f"{validity.start} {validity.end}"
        seen = b"" if picture is None else hashlib.sha256(picture).digest()
        made_by = f"{self._looker.model_id} {self._keep_portraits}"
        return self._register.fingerprint(
            claim.number.encode(), claim.name.encode(), term.encode(), seen, made_by.encode()
        )


def read_list(path: Path) -> list[Row]:
    """A CSV file in UTF-8 with a heading. Raises ``ListMalformed``."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, restkey="", restval="")
            heading = [name.strip() for name in reader.fieldnames or ()]
            reader.fieldnames = heading
            missing = [name for name in COLUMNS[:2] if name not in heading]
            if missing:
                raise ListMalformed(f"{path} has no column {' and no column '.join(missing)} in its first line")
            return [
                Row(reader.line_num, {name: (row.get(name) or "").strip() for name in COLUMNS if name in heading})
                for row in reader
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ListMalformed(f"{path} cannot be read as CSV in UTF-8: {error}") from None


def read_picture(path: Path) -> bytes:
    """A file's content. Raises ``ParameterMalformed`` for none, or one of more than 20 MB."""
    try:
        if path.stat().st_size > MOST_PICTURE_BYTES:
            raise ParameterMalformed("picture", f"more than {MOST_PICTURE_BYTES} bytes")
        return path.read_bytes()
    except OSError as error:
        raise ParameterMalformed("picture", error.strerror or "cannot be read") from None


def _validity(values: dict[str, str]) -> Validity | None:
    start, end = values.get("valid_from", ""), values.get("valid_to", "")
    return validity_of(start, end, names=("valid_from", "valid_to")) if start or end else None


def _picture(values: dict[str, str], claim: Claim, folder: Path | None) -> bytes | None:
    """``None`` where the row names none, or nothing lies in the folder under the number."""
    if folder is None:
        return None
    if "picture" in values:
        name = values["picture"]
        if not name:
            return None
        path = (folder / name).resolve()
        if not path.is_relative_to(folder.resolve()):
            raise ParameterMalformed("picture", "lies outside the folder")
        return read_picture(path)
    named = (folder / f"{claim.number}{ending}" for ending in PICTURE_ENDINGS)
    found = next((path for path in named if path.is_file()), None)
    return None if found is None else read_picture(found)


def _reason(error: Exception) -> str:
    """In words, without anything of the person."""
    text = " ".join(str(error).split())
    words = "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in type(error).__name__).strip()
    return f"{words}: {text}" if text else words
