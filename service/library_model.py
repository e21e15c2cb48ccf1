"""Which model the library is in. The database says so, from the first start that can write faces on.

The settings do not decide: two servers with different settings would each enrol people whom the other never finds.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from models.manifest import available_packs, load_pack
from service.storage.engine import Database
from service.storage.models import LibraryModel

if TYPE_CHECKING:
    from service.settings import Settings

logger = logging.getLogger(__name__)


def library_model(database: Database, settings: Settings, *, serving: bool = False) -> LibraryModel:
    """The model that the library is in; while library and register have no faces, the model of the settings.

    Whose settings: those of a server that starts (``serving``), or of a command while no server runs. A command that is
    started beside servers may lack their settings, so it takes the servers' model.

    Raises ``models.errors.ModelsError`` for a setting that names no pack.
    """
    chosen = LibraryModel(settings.pack, load_pack(settings.pack).model_id)
    with database.read() as reader:
        active, empty = reader.models.in_use().active, reader.models.empty()
        beside = active is not None and not serving and reader.models.servers(active.model_id)[0] > 0
    if empty and not beside:
        return chosen
    if active is None:
        active = _of_most_faces(database, chosen)
    if "pack" not in settings.model_fields_set or chosen == active:
        return active
    if chosen.model_id == active.model_id:  # packs that differ in other networks: nothing has to move
        return chosen
    logger.warning(
        "the library is in the pack %s, not in %s as AIPFACE_PACK says; moving it: aipface reembed --pack %s",
        *(active.pack, chosen.pack, chosen.pack),
    )
    return active


def settle(database: Database, model: LibraryModel) -> LibraryModel:
    """Record ``model`` as the library's, unless the library has faces of another one; returns the library's model.

    To be called once the model is loaded, because other servers follow, and before anything is enrolled.
    """
    with database.read() as reader:  # read first, so that a server whose database is full can start and search
        said = reader.models.in_use().active
    if said is None:
        with database.admin() as work:
            said = work.models.settle(model)
    if said.model_id == model.model_id:
        return said
    with database.standstill() as still:
        return still.settle(model)


def pack_of(model_id: str) -> str | None:
    """A pack of this release whose embeddings have this id."""
    return next((name for name in available_packs() if load_pack(name).model_id == model_id), None)


def _of_most_faces(database: Database, chosen: LibraryModel) -> LibraryModel:
    """The model of a library that was filled before the database recorded it: the one with the most faces.

    So all servers decide alike, whatever their settings, and the fewest people are lost. ``chosen`` where two models
    have equally many faces or no known pack has any.
    """
    with database.admin() as work:
        counts = work.models.counts()
    packs = {model_id: pack for model_id in counts if (pack := pack_of(model_id)) is not None}
    most = max(packs, key=lambda model_id: (counts[model_id], model_id == chosen.model_id), default=chosen.model_id)
    model = chosen if most == chosen.model_id else LibraryModel(packs[most], most)
    if strangers := sum(counts.values()) - counts.get(most, 0):
        logger.warning(
            "%d faces are embedded by other packs than %s, which the library is in, and are not found; embedding them: "
            "aipface reembed --pack %s",
            *(strangers, model.pack, model.pack),
        )
    return model
