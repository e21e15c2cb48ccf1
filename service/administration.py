"""The half of the composition root that needs no weights: database, keys, apps, feedback. Imports nothing slow."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING

from service.access import keys
from service.access.keys import Keyring, KeyringError
from service.bulk.journal import NAME as JOURNAL_FOLDER
from service.bulk.journal import ImportJournals
from service.errors import DatabaseUnavailable
from service.face_keys import face_sealing, follow_sealing, note_current_key
from service.identity.register import Register
from service.library.apps import Apps
from service.library.audit import AuditTrail
from service.library.disclosure import Disclosure
from service.library.erasure import Erasure
from service.library.feedback import Feedback
from service.library.quotas import Quotas
from service.search.folder import NAME as SNAPSHOT_FOLDER
from service.search.folder import SnapshotCopies
from service.storage import migrations
from service.storage.embedded import EmbeddedPostgres
from service.storage.engine import Database
from service.storage.sealing import Mode
from service.values import Limits

if TYPE_CHECKING:
    from service.capture.keys import EnvelopeKeys
    from service.settings import Settings

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Admin:
    """What administration needs: the database and the keys, no weights."""

    settings: Settings
    database: Database
    embedded: EmbeddedPostgres | None
    keyring: Keyring
    apps: Apps
    register: Register
    feedback: Feedback
    quotas: Quotas
    audit: AuditTrail

    @property
    def erasure(self) -> Erasure:
        """Erasing people, groups and apps."""
        home = self.settings.home
        return Erasure(self.database, [SnapshotCopies(home / SNAPSHOT_FOLDER)], ImportJournals(home / JOURNAL_FOLDER))

    @property
    def disclosure(self) -> Disclosure:
        """Showing people what is held about them."""
        return Disclosure(self.database)

    def tell_sealing(self) -> None:
        """Prepare a command for writing faces: sealed where the library may have sealed ones.

        Warns if settings differ.
        """
        if self.database.sealing.seals:
            note_current_key(self.database)
        if self.settings.encrypt_faces == "off" and self.database.sealing.seals:
            logger.warning(
                "faces may be encrypted in this database, and those that this command writes are, although "
                "AIPFACE_ENCRYPT_FACES is off; the way back, for all: aipface key open-faces"
            )

    @cached_property
    def envelope_keys(self) -> EnvelopeKeys:
        """The keys of capture envelopes. Their library is not quick to import, and few commands need it."""
        from service.capture.keys import EnvelopeKeys  # noqa: PLC0415

        grace = timedelta(seconds=self.settings.envelope_key_grace)
        return EnvelopeKeys(self.database, self.keyring, grace=grace)


LEAST_CONNECTIONS = 100
"""Connections that the embedded PostgreSQL accepts at least; more where several processes share it."""
OTHER_CONNECTIONS, COMMANDS_CONNECTIONS = 5, 30
"""Connections of each process outside its pool (to listen, to migrate), and those reserved for commands."""


@contextlib.contextmanager
def open_admin(settings: Settings, *, serving: bool = False) -> Iterator[Admin]:
    """The migrated database and the keys. Starts and stops the embedded PostgreSQL where no other is named.

    Servers (``serving``) seal faces as their settings say. Commands seal them also where any are sealed already, since
    a command that is started beside servers may lack their settings.

    Raises ``KeyringError`` and ``DatabaseUnavailable`` with a sentence for the operator.
    """
    with contextlib.ExitStack() as stack:
        make_home(settings)
        keyring = open_keyring(settings) if has_key(settings) else None
        url, embedded = stack.enter_context(open_database(settings))
        migrations.upgrade(url)
        keyring = keyring or _first_keyring(settings, url)
        sealing = keyring.derive("audit")
        faces = face_sealing(keyring, Mode(settings.encrypt_faces))
        database = Database(url, pool_size=settings.database_pool_size, audit_keys=sealing, sealing=faces)
        stack.callback(database.close)
        if faces.seals:
            note_current_key(database)
        elif not serving:
            follow_sealing(database, keyring)
        limits = Limits(settings.quota_qps, settings.quota_daily, settings.quota_total, settings.quota_concurrent)
        apps = Apps(database, keyring, limits=limits)
        yield Admin(
            settings,
            database,
            embedded,
            keyring,
            apps=apps,
            register=Register(database, keyring),
            feedback=Feedback(database),
            quotas=Quotas(database, zone=settings.quota_time_zone, on_change=apps.forget),
            audit=AuditTrail(database, sealing, reads=settings.audit_reads, retention=_days(settings.audit_days)),
        )


@contextlib.contextmanager
def open_database(settings: Settings) -> Iterator[tuple[str, EmbeddedPostgres | None]]:
    """The database's address, and our share in the embedded PostgreSQL if it is that one. Does not migrate."""
    if settings.database_url is not None:
        yield settings.database_url.get_secret_value(), None
        return
    embedded = EmbeddedPostgres(settings.home, {"max_connections": str(embedded_connections(settings))})
    try:
        yield embedded.start(), embedded
    finally:
        embedded.stop()


def embedded_connections(settings: Settings) -> int:
    """How many the embedded PostgreSQL has to take."""
    each = settings.database_pool_size + OTHER_CONNECTIONS
    return max(LEAST_CONNECTIONS, COMMANDS_CONNECTIONS + settings.processes * each)


def _days(number: int) -> timedelta | None:
    return timedelta(days=number) if number else None


def make_home(settings: Settings) -> None:
    """The folder of all state, if it is not there. Raises ``DatabaseUnavailable`` with a sentence for the operator."""
    try:
        settings.home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DatabaseUnavailable(f"The folder {settings.home} cannot be written: {error.strerror}.") from None


def has_key(settings: Settings) -> bool:
    """Whether there seems to be a master key. It may be malformed, or its file may be unreadable for us."""
    try:
        return settings.secret_key is not None or settings.secret_key_file.exists()
    except OSError:
        return True


def _first_keyring(settings: Settings, url: str) -> Keyring:
    """A new master key. Raises ``KeyringError`` where something is sealed under another one, which is lost then.

    A new key in its place would later be mistaken for the lost one.
    """
    with contextlib.closing(Database(url, pool_size=1)) as database, database.read() as reader:
        # Look again: of two first starts at once, the other may have made the key, and an app with it, meanwhile.
        if (reader.apps.all() or reader.identities.any()) and not has_key(settings):
            raise KeyringError(
                f"the master key {settings.secret_key_file} is missing, and the database holds what was sealed under it"
                ": put its backup back; aipface doctor tells what else can be done"
            )
    return open_keyring(settings)


def open_keyring(settings: Settings) -> Keyring:
    """The master keys: of the setting, else of the key file, which is made when there is none."""
    if settings.secret_key is not None:
        return Keyring(*(keys.decode_key(text) for text in settings.secret_key.get_secret_value().split()))
    return keys.load_or_create(settings.secret_key_file)
