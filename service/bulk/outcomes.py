"""What became of a picture, and the report of all of them."""

from __future__ import annotations

import contextlib
import csv
import enum
import os
import re
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TextIO

from service.bulk.pictures import SourceError
from service.errors import ServiceError
from service.inference.occlusion import Occlusion
from service.inference.quality import Quality
from service.values import Angles, Location


class Outcome(str, enum.Enum):
    """What became of a picture."""

    ENROLLED = "enrolled"
    PRESENT = "present"
    """The user had this very face of this very picture already."""
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Result:
    """One row of the report. Figures are ``None`` where this run did not look at the picture."""

    place: str
    group_id: str
    user_id: str
    outcome: Outcome
    reason: str = ""
    detail: str = ""
    token: str = ""
    location: Location | None = None
    angles: Angles | None = None
    confidence: float | None = None
    quality: Quality | None = None


OCCLUSIONS = tuple(field.name for field in fields(Occlusion))
COLUMNS = (
    *("picture", "group_id", "user_id", "outcome", "reason", "detail", "face_token"),
    *("face_width", "face_height", "yaw", "pitch", "roll", "face_probability"),
    *("blur", "illumination", "completeness"),
    *(f"occlusion_{part}" for part in OCCLUSIONS),
)


class CsvReport:
    """A CSV file with one row a picture, in the order of the source, written as the work goes on."""

    def __init__(self, file: TextIO) -> None:
        self._name = file.name
        self._writer = csv.writer(file)
        self.counts: Counter[Outcome] = Counter()
        self.reasons: Counter[str] = Counter()
        self._write(COLUMNS)

    def add(self, result: Result) -> None:
        """Write a row. Raises ``SourceError`` where it cannot be."""
        self.counts[result.outcome] += 1
        if result.outcome is Outcome.REFUSED:
            self.reasons[result.reason] += 1
        self._write(["" if cell is None else cell for cell in _cells(result)])

    def _write(self, cells: Sequence[object]) -> None:
        try:
            self._writer.writerow(cells)
        except OSError as error:
            raise _unwritten(self._name, error) from None


@contextmanager
def csv_report(path: Path) -> Iterator[CsvReport]:
    """A report at ``path``, for its owner alone; one that is there is replaced, links stay.

    Raises ``SourceError`` where it cannot be written.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        if stat.S_ISREG(os.fstat(descriptor).st_mode):  # and no device
            with contextlib.suppress(PermissionError):  # somebody else's, who let us write to it
                os.fchmod(descriptor, 0o600)  # one that is overwritten keeps its mode
        # The mark lets spreadsheet programs see that it is UTF-8.
        file = os.fdopen(descriptor, "w", encoding="utf-8-sig", newline="")
    except OSError as error:
        raise _unwritten(str(path), error) from None
    try:
        yield CsvReport(file)
    finally:
        try:
            file.close()
        except OSError as error:
            raise _unwritten(str(path), error) from None


def _unwritten(name: str, error: OSError) -> SourceError:
    return SourceError(f"{name} cannot be written: {error.strerror}; what is enrolled stays")


def reason_of(error: ServiceError) -> str:
    """``FaceTooSmall`` as the report writes it: ``face_too_small``."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(error).__name__).lower()


def _cells(result: Result) -> list[object]:
    location, angles, quality = result.location, result.angles, result.quality
    cells: list[object] = [result.place, result.group_id, result.user_id, result.outcome.value]
    cells += [result.reason, result.detail, result.token]
    cells += [None] * 2 if location is None else [round(location.width), round(location.height)]
    cells += [None] * 3 if angles is None else [round(angle, 2) for angle in (angles.yaw, angles.pitch, angles.roll)]
    cells.append(None if result.confidence is None else round(result.confidence, 4))
    if quality is None:
        return [*cells, *[None] * (3 + len(OCCLUSIONS))]
    cells += [round(quality.blur, 4), round(quality.illumination, 1), quality.completeness]
    return [*cells, *(round(getattr(quality.occlusion, part), 4) for part in OCCLUSIONS)]
