"""``aipface doctor``: is everything in place, and if not, how to mend it."""

from __future__ import annotations

import contextlib
import shutil
import stat
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.common import database_address, effective_settings, print_json
from service.cli.failures import FAILED, exit_status, sentence

if TYPE_CHECKING:
    from pathlib import Path

    from service.access.keys import Keyring
    from service.settings import Settings
    from service.storage.engine import Database
    from service.storage.models import LibraryModel

LEAST_FREE_BYTES = 2**30
"""Free space below which PostgreSQL's own files may soon not fit."""

MILVUS_SECONDS = 5.0
"""How long Milvus is waited for."""


@dataclass(frozen=True, slots=True)
class Check:
    """One finding; ``mend`` says what to do when it is not ``ok``."""

    name: str
    ok: bool
    found: str
    mend: str = ""


def doctor(*, as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False) -> None:
    """Check weights, runtime, key, database, index, Milvus if used, and disk. Exit status 1 when something is wrong."""
    checks = list(examine(effective_settings()))
    if as_json:
        print_json([asdict(check) for check in checks])
    else:
        for check in checks:
            typer.echo(f"{'ok     ' if check.ok else 'PROBLEM'}  {check.name}: {check.found}")
            if not check.ok:
                typer.echo(f"         mend: {check.mend}")
    if not all(check.ok for check in checks):
        raise typer.Exit(FAILED)


def examine(settings: Settings) -> Iterator[Check]:
    """All checks; each stands alone, so that one broken thing does not hide the others."""
    yield _runtime(settings)
    yield from _database(settings)
    if settings.search_backend == "milvus":
        yield _milvus(settings)
    yield _snapshots(settings)
    yield _disk(settings)


def _weights(settings: Settings, name: str) -> Check:
    from models.errors import ModelsError
    from models.fetch import FileState, verify
    from models.manifest import load_pack

    try:
        pack = load_pack(name)
        statuses = verify(pack, settings.model_dir)
    except ModelsError as error:
        return Check("weights", ok=False, found=sentence(error), mend="choose a pack: aipface models list")
    wrong = [f"{status.file.name} {status.state.value}" for status in statuses if status.state is not FileState.READY]
    found = f"{', '.join(wrong)} in {settings.model_dir}" if wrong else f"{len(statuses)} files of {pack.name} verified"
    return Check("weights", not wrong, found, f"aipface models fetch --pack {pack.name}")


def _runtime(settings: Settings) -> Check:
    import onnxruntime

    from service.inference.providers import openvino_advice, openvino_installed
    from service.inference.runtimes import FILE, MeasuredRuntimes, chosen, runtime_for
    from service.inference.session import DeviceUnavailable

    available = [*onnxruntime.get_available_providers(), *(["OpenVINO"] if openvino_installed() else [])]
    found = f"ONNX Runtime {onnxruntime.__version__}, {', '.join(available)}; device = {settings.device}"
    found += f", precision = {settings.precision}"
    try:
        runtime = runtime_for(settings.device, settings.home, settings.precision)
    except DeviceUnavailable as error:
        return Check("runtime", ok=False, found=found, mend=str(error))
    measured = chosen(settings.home / FILE) if isinstance(runtime, MeasuredRuntimes) else {}
    told = ", ".join(f"{count} networks by {runtime}" for runtime, count in measured.items())
    advice = openvino_advice() if settings.device == "auto" and settings.precision != "fp32" else ""
    parts = [found, f"measured: {told}" if told else "", advice]
    return Check("runtime", ok=True, found="; ".join(part for part in parts if part))


@dataclass(frozen=True, slots=True)
class Sealed:
    """What lies sealed in the database: the apps' secrets by their ids, and whether there is more."""

    secrets: dict[str, bytes]
    more: bool


def _secret_key(settings: Settings, sealed: Sealed | None) -> Check:
    """Whether the master key is there and opens what was sealed (``None``: the database cannot be asked).

    It is never to be deleted: it may be the only one.
    """
    from service.access.keys import KeyringError
    from service.administration import has_key, open_keyring

    path, rotate = settings.secret_key_file, "aipface app rotate APP_ID for each app"
    if sealed is None or sealed.more:
        rotate += "; encrypted faces (aipface key forget gives them up) and the register of people are lost then"
    if not has_key(settings):
        return _missing_key(path, sealed, rotate)
    found, mend = "given by AIPFACE_SECRET_KEY or the configuration file", f"give it as it was; without it: {rotate}"
    if settings.secret_key is None:
        if (unreadable := _unreadable(path)) is not None:
            return unreadable
        found = f"{path}, readable by its owner alone"
        mend = f"put its backup back; without one: move it away, aipface key add, and {rotate}"
    try:
        keyring = open_keyring(settings)
    except KeyringError as error:
        return Check("secret key", ok=False, found=f"{found}: {sentence(error)}", mend=mend)
    secrets = {} if sealed is None else sealed.secrets
    strange = [app_id for app_id, secret in secrets.items() if not _opens(keyring, app_id, secret)]
    if strange:
        found += f"; it does not open the secrets of the apps {', '.join(strange)}"
        mend = "put the key that sealed them in its place, or behind it; without that: aipface app rotate APP_ID"
        mend += " for each of these"
    return Check("secret key", not strange, found, mend)


def _missing_key(path: Path, sealed: Sealed | None, rotate: str) -> Check:
    if sealed is None:
        return Check("secret key", ok=True, found=f"{path} is not there; the database cannot be asked whether it must")
    if not (sealed.secrets or sealed.more):
        return Check("secret key", ok=True, found=f"not made yet; the first start makes {path}")
    found = f"{path} is missing, and the database holds what was sealed under it"
    return Check("secret key", False, found, f"put its backup back; without one: aipface key add, and {rotate}")


def _unreadable(path: Path) -> Check | None:
    """What keeps us, or should keep others, from reading a key that may well be sound."""
    try:
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            return Check("secret key", ok=False, found=f"{path} can be read by others", mend=f"chmod 600 {path}")
        path.read_bytes()
    except OSError as error:
        mend = f"run this as the user of the server; if you are: give {path} back to that user (chown), mode 600"
        return Check("secret key", ok=False, found=f"{path} cannot be read: {error.strerror}", mend=mend)
    return None


def _opens(keyring: Keyring, app_id: str, secret: bytes) -> bool:
    from service.access.keys import KeyringError
    from service.library.apps import secret_context

    try:
        keyring.open(secret, secret_context(app_id))
    except KeyringError:
        return False
    return True


def _sealed(database: Database) -> Sealed:
    with database.read() as reader:
        secrets = {app.app_id: reader.apps.sealed_secret(app.pk) for app in reader.apps.all()}
        return Sealed(secrets, more=reader.identities.any() or bool(reader.face_keys.registered()))


def _database(settings: Settings) -> Iterator[Check]:
    """Database, its schema, and what the index would hold, up to the first that cannot be asked; then key and weights.

    Those are of what the database holds: servers load the pack that it names, whatever the settings say.
    """
    from models.errors import ModelsError
    from service.library_model import library_model
    from service.storage import migrations
    from service.storage.engine import Database
    from service.storage.failures import refusal

    sealed, pack = None, settings.pack
    kind = "embedded" if settings.database_url is None else "AIPFACE_DATABASE_URL"
    mend = "see the message; is the database running, and are its address and the account's rights right?"
    try:
        with database_address(settings) as address:
            migrations.check_encoding(address)
            revision, newest = migrations.current(address), migrations.head()
            yield Check("database", ok=True, found=f"{kind}, answers")
            schema = _schema(address, revision, newest)
            yield schema
            if revision is None:
                sealed = Sealed({}, more=False)
            elif schema.ok:
                with contextlib.closing(Database(address, pool_size=1)) as database:
                    sealed = _sealed(database)
                    yield _face_keys(settings, database)
                    model = library_model(database, settings)
                    pack = model.pack
                    yield _index(database, model)
    except ModelsError:
        pass  # the settings name no pack, as the check of the weights tells
    except Exception as error:
        told = refusal(error)
        if told is None and exit_status(error) is None:
            raise
        yield Check("database", ok=False, found=f"{kind}: {told or sentence(error)}", mend=mend)
    yield _secret_key(settings, sealed)
    yield _weights(settings, pack)


def _schema(address: str, revision: str | None, newest: str) -> Check:
    """Whether the schema is ours, or can be made."""
    from service.storage import migrations

    found = f"{revision or 'not made yet'}, newest {newest}"
    if revision is None:
        ok = migrations.may_make_tables(address)
        mend = "give it a schema on its search_path: GRANT CREATE, USAGE ON SCHEMA public TO account"
        return Check("schema", ok, found if ok else f"{found}; the account may make no tables", mend)
    if revision == newest and (missing := migrations.missing(address)):
        mend = "somebody dropped that by hand: restore a backup into a new database"
        return Check("schema", ok=False, found=f"{found}; {', '.join(missing)} missing", mend=mend)
    mend = "aipface db upgrade" if revision in migrations.known() else "take the newer release that the database is of"
    return Check("schema", revision == newest, found, mend)


def _face_keys(settings: Settings, database: Database) -> Check:
    """Whether what is encrypted of faces can be opened; reads the table and no embedding."""
    from service.access.keys import KeyringError
    from service.administration import has_key, open_keyring
    from service.face_keys import face_sealing, missing_keys
    from service.storage.sealing import Mode

    name = "encrypted faces"
    with database.admin() as work:
        counts = work.face_keys.counts("faces")
    plain = counts.pop(None, 0)
    found = f"encrypt_faces = {settings.encrypt_faces}; {sum(counts.values())} encrypted, {plain} in plain"
    if not has_key(settings):
        return Check(name, not counts, found, "put the master key's backup back")
    try:
        missing = missing_keys(database, face_sealing(open_keyring(settings), Mode.OFF).enrolled)
    except KeyringError as error:
        return Check(name, not counts, found, sentence(error))
    if missing:
        mend = f"put that key behind the current one, or give those faces up: aipface key forget {missing[0]}"
        return Check(name, ok=False, found=f"{found}; key {', '.join(missing)} is not here", mend=mend)
    with database.read() as reader:
        refused = settings.encrypt_faces == "only" or reader.models.plain_refused()
    if plain and refused:
        found += "; with encrypt_faces = only, as here or in a server that runs, those in plain are not found"
    return Check(name, not (plain and refused), found, "if they are yours and not slipped in: aipface key seal-faces")


def _index(database: Database, model: LibraryModel) -> Check:
    """What can be searched with the library's model."""
    with database.read() as reader:
        in_use, coverage = reader.models.in_use(), reader.models.coverage(model.model_id)
    found = f"{coverage.embedded} faces of {model.model_id}"
    if in_use.target is not None:
        found += f"; moving to {in_use.target.model_id}"
    if in_use.previous is not None:
        found += f"; can go back to {in_use.previous.model_id}"
    strangers = coverage.missing + coverage.without_crop
    if strangers:
        found += f"; not searchable with this model: {strangers}"
    mend = f"aipface reembed --pack {model.pack}; it lists those without a crop, to be enrolled again"
    return Check("index", not strangers, found, mend)


def _milvus(settings: Settings) -> Check:
    """Whether Milvus answers. A file is not opened: it would be made, and one process at a time can have it open."""
    uri = settings.milvus_uri
    try:
        from service.search.milvus_store import trouble
    except ModuleNotFoundError as error:
        return Check("milvus", ok=False, found=f"needs {error.name}", mend="pip install 'aipface-server[milvus]'")
    if settings.milvus_is_a_file:
        return Check("milvus", ok=True, found=f"the file {uri}, not looked into")
    token = "" if settings.milvus_token is None else settings.milvus_token.get_secret_value()
    wrong = trouble(uri, token, MILVUS_SECONDS)
    mend = "is it running, and are AIPFACE_MILVUS_URI and AIPFACE_MILVUS_TOKEN right?"
    return Check("milvus", not wrong, wrong or f"{uri}, answers", mend)


def _snapshots(settings: Settings) -> Check:
    """What the next start can read instead of the database; that there is nothing is not wrong."""
    from service.search.folder import NAME, snapshots_below, unsafe

    root = settings.home / NAME
    if settings.search_backend != "memory" or not settings.snapshot_interval:
        return Check("snapshots", ok=True, found="none are kept")
    files = snapshots_below(root)
    exposed = [str(path) for path in files if unsafe(path)]
    size = sum(path.stat().st_size for path in files)
    found = f"{len(files)} in {root}, {size / 2**20:.0f} MiB, every {settings.snapshot_interval} s"
    if exposed:
        return Check("snapshots", ok=False, found=f"others can read {exposed[0]}", mend=f"rm -r {root}")
    return Check("snapshots", ok=True, found=found)


def _disk(settings: Settings) -> Check:
    folder = settings.home
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    return Check(
        "disk", free >= LEAST_FREE_BYTES, f"{free / 2**30:.1f} GiB free in {folder}", "make room, at least 1 GiB"
    )
