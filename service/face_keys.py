"""Master keys and sealed faces: checking that all needed keys are at hand, and re-sealing faces."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.access.keys import Keyring, KeyringError
from service.errors import AppUnavailable
from service.storage.face_keys import FURTHER, KINDS, REMEMBERED, Wish
from service.storage.sealing import KEY_ID_BYTES, FaceSealing, Mode, Sealing

if TYPE_CHECKING:
    from service.storage.engine import Database

MOST_SWEEPS = 5
"""How often rows that other transactions had locked are tried again."""

Advance = Callable[[int], None]
"""Called with the number of rows done since the last call."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Rows of one kind: ``done`` were rewritten, ``broken`` cannot be opened, ``left`` are not as wished at the end.

    The latter were locked, or written by other processes in the meantime.
    """

    done: int
    broken: int
    left: int


def face_sealing(keyring: Keyring, mode: Mode) -> FaceSealing:
    """How faces are written and read under these master keys."""
    return FaceSealing(
        enrolled=Sealing(keyring.sealer("faces", id_bytes=KEY_ID_BYTES), mode),
        remembered=Sealing(keyring.sealer("remembered-faces", id_bytes=KEY_ID_BYTES), mode),
    )


def note_current_key(database: Database) -> None:
    """Record in the database that faces may be sealed under the current key. To be called before the first one is."""
    with database.admin() as work:
        work.face_keys.register(database.sealing.enrolled.key_ids[0])


def follow_sealing(database: Database, keyring: Keyring) -> None:
    """Make a command write sealed faces where the library may have sealed ones, under a key that is at hand.

    A key is recorded from the first start with ``encrypt_faces`` until all faces have been decrypted again; after that
    commands write plain faces. Where a server runs that takes plain faces for forged, this command does so, too:
    otherwise it might embed and seal a forged face, which would make it look genuine.
    """
    with database.read() as reader:
        used, refused = reader.face_keys.registered(), reader.models.plain_refused()
    sealing = face_sealing(keyring, Mode.ONLY if refused else Mode.ON)
    if not set(used).isdisjoint(sealing.enrolled.key_ids):
        database.sealing = sealing


def check_face_keys(database: Database) -> None:
    """Raise ``KeyringError`` where faces are sealed under a missing key, or are plain although the settings forbid it.

    Single faces that cannot be opened do not count: they are left out of searches and logged.
    """
    sealing = database.sealing.enrolled
    _check_known(database, sealing)
    with database.read() as reader:
        if sealing.mode is Mode.ONLY and reader.face_keys.any_plain():
            raise KeyringError(
                "AIPFACE_ENCRYPT_FACES is `only`, and there are faces in plain: aipface key seal-faces, or say `on`"
            )


def missing_keys(database: Database, sealing: Sealing) -> list[str]:
    """Keys that faces are sealed under and that are not here, as hexadecimal digits."""
    with database.read() as reader:
        return [key_id.hex() for key_id in reader.face_keys.registered() if key_id not in sealing.key_ids]


def outstanding(database: Database, keyring: Keyring, wish: Wish) -> int:
    """How many faces are not stored as wished."""
    current = face_sealing(keyring, Mode.OFF).enrolled.key_ids[0]
    with database.admin() as work:
        return sum(work.face_keys.outstanding(kind, wish, current) for kind in KINDS)


def reseal_faces(
    database: Database, keyring: Keyring, wish: Wish, advance: Advance | None = None
) -> dict[str, Outcome]:
    """Rewrite all faces as wished. Can be interrupted and run again, which goes on where it was.

    Servers may run meanwhile: each row changes at once, and they read both forms. Raises ``KeyringError`` before
    anything is changed where a key is missing.
    """
    sealing = face_sealing(keyring, Mode.OFF if wish is Wish.PLAIN else Mode.ON)
    known = sealing.enrolled.key_ids
    used = _check_known(database, sealing.enrolled)
    if wish is Wish.SEALED or (used and wish is Wish.RENEWED):
        with database.admin() as work:
            work.face_keys.register(known[0])
    tables = {kind: sealing.remembered if kind == REMEMBERED else sealing.enrolled for kind in KINDS}
    # Further embeddings first: the end of a move takes them into the rows of faces, which come afterwards.
    order = sorted(tables, key=lambda kind: kind != FURTHER)
    swept = {kind: _sweep(database, kind, wish, tables[kind], advance) for kind in order}
    outcomes = {kind: swept[kind] for kind in tables}
    with database.admin() as work:
        if not any(outcome.left for outcome in outcomes.values()):
            work.face_keys.forget(known if wish is Wish.PLAIN else known[1:])
        if wish is not Wish.RENEWED or used:
            work.audit.record(f"faces.{wish.value}", {kind: outcome.done for kind, outcome in outcomes.items()})
    return outcomes


def _check_known(database: Database, sealing: Sealing) -> bool:
    """Whether any face may be sealed."""
    missing = missing_keys(database, sealing)
    if missing:
        raise KeyringError(
            f"faces in the database are encrypted under a master key that is not here (key {', '.join(missing)}): put"
            f" it behind the current one, or give those faces up: aipface key forget {missing[0]}"
        )
    with database.read() as reader:
        return bool(reader.face_keys.registered())


def _sweep(database: Database, kind: str, wish: Wish, sealing: Sealing, advance: Advance | None) -> Outcome:
    done = broken = left = 0
    for _ in range(MOST_SWEEPS):
        broken, after = 0, None
        while True:
            with database.admin() as work:
                step = work.face_keys.step(kind, wish, sealing, after)
            done, broken, after = done + step.done, broken + step.broken, step.last
            if step.from_plain:
                _tell_servers(database, step.from_plain)
            if advance is not None and step.done:
                advance(step.done)
            if after is None:
                break
        with database.admin() as work:
            left = max(work.face_keys.outstanding(kind, wish, sealing.key_ids[0]) - broken, 0)
        if not left:
            break
    return Outcome(done, broken, left)


def _tell_servers(database: Database, sealed: Iterable[tuple[int, int]]) -> None:
    """Make servers that refused plain faces add them to their indexes now that they are sealed.

    Does nothing where no such server runs. In transactions of its own, since writing to an app's change log may have to
    wait for other writers, which a step of the re-sealing must not.
    """
    with database.read() as reader:
        if not reader.models.plain_refused():
            return
    by_app: dict[int, list[int]] = defaultdict(list)
    for app_pk, face_pk in sealed:
        by_app[app_pk].append(face_pk)
    for app_pk, face_pks in by_app.items():
        with contextlib.suppress(AppUnavailable), database.write(app_pk) as work:
            work.embeddings.tell(face_pks)
