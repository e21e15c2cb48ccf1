"""A server process that shares its port with others, under a supervising process (``service.cli.processes``)."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import signal
import socket
import sys
import threading
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from service.cli.failures import MISUSED, Failure
from service.processors import available_cpus
from service.settings import load_settings

if TYPE_CHECKING:
    from service.settings import Settings

Role = Literal["first", "silent", "other"]
"""``first``: may create the first app. ``silent``: the first one, where standard output is closed and keys would be
lost."""

READY, LEAVING = b".", b"-"
BEAT_SECONDS = 5.0
RESERVED = {
    "counter": 2**20,
    "histogram": 2**20,
    "gauge_livesum": 2**16,
    "gauge_livemax": 2**16,
    "gauge_livemin": 2**16,
}
"""Bytes of the files in which a process counts, by what the library names them."""
SHARED_METRICS = "PROMETHEUS_MULTIPROC_DIR"
"""Variable that names, to the library of metrics when it is loaded, the folder in which several processes count."""


class Member:
    """The connection to the supervising process: reports that this one is ready and alive, and obeys orders to stop.

    To be made before anything that counts metrics is imported. An order is the number of a signal, as one byte; the end
    of the connection is an order to stop, too.
    """

    def __init__(self, handed: str) -> None:
        """``handed`` is ``<listening socket>,<line>,<role>,<folder of metrics>``, the first two descriptors.

        Raises ``Failure`` where it is not: somebody types what only ``service.cli.processes`` has to say.
        """
        try:
            listener, line, self._role, metrics = handed.split(",", 3)
            self.listener = socket.socket(fileno=int(listener))
            self._line = socket.socket(fileno=int(line))
        except (ValueError, OSError):
            raise Failure("--member is what aipface serve --processes tells its own processes", MISUSED) from None
        for handle in (self.listener, self._line):
            handle.set_inheritable(False)
        os.environ.pop(SHARED_METRICS, None)  # an operator's own is of another program
        os.environ.setdefault(SHARED_METRICS, metrics)
        _reserve(Path(metrics))
        if self._role == "silent":
            sys.stdout = None  # as it was where this began: keys would be shown nowhere
        self._heard = False
        self._orders = 0
        threading.Thread(target=self._obey, name="orders", daemon=True).start()

    def settings(self, **named: object) -> Settings:
        """Those that are in force, ``named`` ones first, with this process' share of what is shared.

        Who started us has told what there is to be warned of.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            settings = load_settings(**named)
            own: dict[str, object] = {**of_each(settings)}
            if self._role == "other":
                own["create_first_app"] = False
            return load_settings(**{**named, **own})

    def ready(self) -> None:
        """It listens, and its event loop, which this is called in, goes on: says so now and again and again."""
        self._say(READY)
        asyncio.get_running_loop().call_later(BEAT_SECONDS, self._beat)

    def _beat(self) -> None:
        if not self._heard:
            self.ready()

    def stopping(self) -> bool:
        """It was told to stop, by whomever. Whether it was told so twice: systemd tells every process of a unit once.

        Who started us is the one to say it again. What is done at the end may take long, and nothing is said meanwhile.
        """
        self._heard = True
        self._say(LEAVING)
        return self._orders > 1

    def _say(self, what: bytes) -> None:
        with contextlib.suppress(OSError):  # who started us has ended, or does not listen for long
            self._line.send(what, socket.MSG_DONTWAIT)

    def _obey(self) -> None:
        while order := self._next_order():
            self._orders += 1
            if self._orders > 1 or not self._heard:
                os.kill(os.getpid(), order)
        if not (self._orders or self._heard):
            os.kill(os.getpid(), signal.SIGTERM)

    def _next_order(self) -> int:
        """0 when there will be none."""
        try:
            return int.from_bytes(self._line.recv(1), "big")
        except OSError:
            return 0


def _reserve(folder: Path) -> None:
    """Take the room that counting needs. Raises ``Failure`` where there is none.

    The library maps files with holes: where these cannot be filled any more, whoever counts is ended by SIGBUS.
    """
    if sys.platform != "linux":
        return
    try:
        for name, size in RESERVED.items():
            with (folder / f"{name}_{os.getpid()}.db").open("ab") as file:
                os.posix_fallocate(file.fileno(), 0, size)
    except OSError as error:
        raise Failure(f"there is no room for counting in {folder}: {error.strerror}") from None


def used(path: Path) -> int:
    """How many bytes of such a file have been written to: its first number tells."""
    with path.open("rb") as file:
        return int.from_bytes(file.read(4), sys.byteorder)


def of_each(settings: Settings) -> dict[str, int]:
    """The settings that each of the processes has of its own, where the operator names none: its share.

    Two threads at least, where there are two processors: a lone request may compute on both, and a process whose
    connections happen to ask more than those of another is not held back.
    """
    cpus = available_cpus()
    threads = max(math.ceil(cpus / settings.processes), min(2, cpus))
    shares = {"inference_threads": threads, "queue_limit": math.ceil(settings.queue_limit / settings.processes)}
    return {name: share for name, share in shares.items() if name not in settings.model_fields_set}
