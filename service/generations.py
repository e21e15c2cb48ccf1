"""What works with one model, and how a running service goes over from one model to another.

A ``Generation`` holds all parts that depend on the weights. While the library moves to another model there are two
complete ones, each with its own networks, calibration and index. The database alone decides which one answers. A
request that finds halfway that the library has moved goes on in the other generation.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from models.errors import ModelsError
from models.manifest import PackManifest
from service.api.ports import Check
from service.background import Background
from service.calibration.errors import CalibrationError
from service.capture.risk import JudgeRisk
from service.errors import ServiceError
from service.identity.enrolment import Enrolment
from service.identity.verification import VerifyPerson
from service.inference.engine import Engine
from service.library.faces import Faces
from service.library.groups import Groups
from service.library.memberships import Memberships
from service.library.users import Users
from service.recognition.compare import CompareFaces
from service.recognition.detect import DetectFaces
from service.recognition.identify import IdentifyFaces
from service.recognition.liveness import VerifyLiveness
from service.recognition.ranking import RankFaces
from service.recognition.selfie import VerifySelfie
from service.recognition.video import VerifyVideo
from service.search.protocol import FaceSearch
from service.storage.engine import Database
from service.storage.models import LibraryModel, LibraryModels

logger = logging.getLogger(__name__)

ROUND_SECONDS = 15.0
"""How often the database is asked even without a notification, and how soon loading is tried again after a failure."""

PARTING_SECONDS = 60.0
"""How long a generation that new requests no longer use is kept for the requests that began with it."""


@dataclass(frozen=True)
class Generation:
    """The use cases as they work with one model; ``resources`` are closed when nobody needs them any more."""

    pack: PackManifest
    engine: Engine
    catalog: FaceSearch
    detect: DetectFaces
    compare: CompareFaces
    liveness: VerifyLiveness
    video: VerifyVideo
    selfie: VerifySelfie
    identify: IdentifyFaces
    ranking: RankFaces
    person: VerifyPerson
    enrolment: Enrolment
    users: Users
    memberships: Memberships
    faces: Faces
    groups: Groups
    judge_risk: JudgeRisk
    resources: contextlib.ExitStack


class Generations:
    """The generations of one process. A thread loads the models that the library needs and closes the others."""

    def __init__(self, database: Database, make: Callable[[LibraryModel], Generation]) -> None:
        """``make`` loads a generation with a complete index."""
        self._database = database
        self._make = make
        self._by_model: dict[str, Generation] = {}
        """By the model's id. Only our thread changes it (and ``begin`` before that starts). Other threads read it
        without a lock: single lookups are safe, and whoever iterates takes a copy first."""
        self._current: Generation | None = None
        self._failures: dict[str, str] = {}
        self._left_at: dict[str, float] = {}
        self._in_use = LibraryModels()
        self._woken = threading.Event()
        self._background = Background("models", self._run)

    def begin(self, generation: Generation) -> None:
        """Set the generation that was loaded at the start."""
        self._current = self._by_model[generation.engine.model_id] = generation

    @property
    def current(self) -> Generation:
        """The generation that new requests use."""
        if self._current is None:
            raise RuntimeError("nothing has been loaded yet")
        return self._current

    def of(self, model_id: str) -> Generation | None:
        """The generation of a model.

        ``None`` where it is not loaded; the database is then asked for the models in use.
        """
        found = self._by_model.get(model_id)
        if found is None:
            self.wake()
        return found

    def catalogs(self) -> Sequence[FaceSearch]:
        """Everything that is searched, or will be."""
        return [generation.catalog for generation in list(self._by_model.values())]

    def loaded(self) -> Sequence[str]:
        """The ids of the models that can be searched with at once."""
        return list(self._by_model)

    def check(self) -> Check:
        """Whether this process works with the model that the library is in."""
        own, named = self.current.engine.model_id, self._in_use
        if named.active is not None and named.active.model_id != own:
            detail = f"works with {own}, the library is in {named.active.model_id}"
            failure = self._failures.get(named.active.model_id)
            return Check("model", ok=False, detail=f"{detail}: {failure}" if failure else detail)
        if named.target is None:
            return Check("model", ok=True, detail=own)
        target = named.target.model_id
        state = "loaded" if target in self._by_model else self._failures.get(target, "being loaded")
        return Check("model", ok=True, detail=f"{own}, moving to {target}: {state}")

    def start(self) -> None:
        """Begin to follow what the database says."""
        self._background.start()

    def stop(self) -> None:
        """Stop following, and close everything."""
        self._background.stopping.set()
        self._woken.set()
        self._background.stop()
        # The current one comes last: closing a generation deletes the snapshots of models that no process uses any
        # more.
        for generation in sorted(self._by_model.values(), key=lambda each: each is self._current):
            generation.resources.close()

    def wake(self) -> None:
        """Ask the database for the models in use now, as they may have changed."""
        self._woken.set()

    def _run(self) -> None:
        while not self._background.stopping.is_set():
            try:
                self._follow()
            except ServiceError as error:
                logger.warning("the models in use are not known: %s", error)
            except Exception:
                logger.exception("following the models in use failed")
            self._woken.wait(ROUND_SECONDS)
            self._woken.clear()

    def _follow(self) -> None:
        """Load the active and the target model, close all others, and switch to the active one."""
        with self._database.read() as reader:
            named = self._in_use = reader.models.in_use()
        wanted = [model for model in (named.active, named.target) if model is not None]
        for model in wanted:
            if model.model_id not in self._by_model and not self._background.stopping.is_set():
                self._load(model)
        if named.active is not None and (found := self._by_model.get(named.active.model_id)) is not None:
            if found is not self._current:
                logger.info("working with another model", extra={"model": named.active.model_id})
            self._current = found
        self._part({model.model_id for model in wanted})

    def _part(self, wanted: Collection[str]) -> None:
        """Close generations that have not been wanted for ``PARTING_SECONDS``."""
        now = time.monotonic()
        for model_id, generation in list(self._by_model.items()):
            if model_id in wanted or generation is self._current:
                self._left_at.pop(model_id, None)
            elif now - self._left_at.setdefault(model_id, now) >= PARTING_SECONDS:
                del self._by_model[model_id], self._left_at[model_id]
                generation.resources.close()

    def _load(self, model: LibraryModel) -> None:
        logger.info("loading a model", extra={"model": model.model_id, "pack": model.pack})
        try:
            self._by_model[model.model_id] = self._make(model)
        except (ModelsError, CalibrationError, ServiceError) as error:
            self._failures[model.model_id] = failure = " ".join(str(error).split())
            logger.warning("the pack %s cannot be loaded: %s", model.pack, failure)
        else:
            self._failures.pop(model.model_id, None)
            logger.info("a model is loaded", extra={"model": model.model_id, "pack": model.pack})
