"""``/metrics``: what ``service.metrics`` counted and the state of the service, in Prometheus' text format."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import struct
from collections.abc import Callable, Iterator
from typing import Literal

import anyio.to_thread
from fastapi import FastAPI
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response

from service.api.ports import UseCases
from service.metrics import LABELS, REGISTRY, State, registries

PATH = "/metrics"

Exposure = Literal["off", "loopback", "on"]
"""Who is answered: nobody, programs on this machine, everybody who reaches the port."""

_FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip", "via")
"""Headers by which a proxy on this machine gives away that the request came from elsewhere."""

_INFO = ("aipface_service", "Version, pack, model, execution provider and search backend, as labels; always 1.")
_GAUGES: tuple[tuple[str, str, Callable[[State], float | None]], ...] = (
    (
        "aipface_admission_working",
        "Permits to compute in use: by requests, and by threads that help one of them.",
        lambda state: state.working,
    ),
    ("aipface_admission_waiting", "Requests that wait for a permit.", lambda state: state.waiting),
    ("aipface_admission_permits", "Permits there are (`inference_threads`).", lambda state: state.permits),
    ("aipface_admission_queue_limit", "Requests that may wait (`queue_limit`).", lambda state: state.queue_limit),
    ("aipface_database_connections", "Connections of the pool in use.", lambda state: state.connections),
    ("aipface_database_up", "Whether the database answers.", lambda state: float(state.storage is not None)),
    ("aipface_faces", "Faces that searches see.", lambda state: state.faces),
    ("aipface_index_groups", "Groups with an index in memory; missing for Milvus.", lambda state: state.groups),
    ("aipface_index_bytes", "Memory of the index; missing for Milvus.", lambda state: state.index_bytes),
    (
        "aipface_certificate_days",
        "Days until the certificate that this process answers with expires; missing for plain HTTP.",
        lambda state: state.certificate_days,
    ),
    (
        "aipface_change_log_lag",
        "Changes that this process has not yet brought into its index, over all apps.",
        lambda state: None if state.storage is None else state.storage.lag,
    ),
    (
        "aipface_face_tokens",
        "Remembered face tokens, as the database estimates them.",
        lambda state: None if state.storage is None else state.storage.face_tokens,
    ),
    (
        "aipface_face_token_bytes",
        "Disk space of the face tokens.",
        lambda state: None if state.storage is None else state.storage.face_token_bytes,
    ),
)


class StateCollector(Collector):
    """The state of the service as gauges; asked for at every scrape."""

    def __init__(self, look: Callable[[], State]) -> None:
        self._look = look

    def collect(self) -> Iterator[Metric]:
        state = self._look()
        labels = {
            "version": state.version,
            "pack": state.pack,
            "model": state.model_id,
            "provider": ",".join(state.providers),
            "backend": state.backend,
        }
        yield InfoMetricFamily(*_INFO, value=labels)
        for name, text, value_of in _GAUGES:
            value = value_of(state)
            if value is not None:
                yield GaugeMetricFamily(name, text, value=float(value))


def exposition(look: Callable[[], State]) -> bytes:
    """Everything in Prometheus' text format; asks the database."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(StateCollector(look))
    return _counted() + generate_latest(registry)


def _counted(attempts: int = 3) -> bytes:
    """The counters as text. Tried again, since a process that starts or ends may leave half a file or remove one."""
    try:
        return b"".join(map(generate_latest, registries()))
    except (FileNotFoundError, struct.error):
        if attempts == 1:
            raise
        return _counted(attempts - 1)


def may_read(request: Request, exposure: Exposure) -> bool:
    """Whether the caller may see the numbers."""
    if exposure != "loopback":
        return exposure == "on"
    if request.client is None or any(name in request.headers for name in _FORWARDED):
        return False
    try:
        address = ipaddress.ip_address(request.client.host)
    except ValueError:
        return False
    # A server that listens on "::" sees 127.0.0.1 as ::ffff:127.0.0.1.
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def add(api: FastAPI, service: UseCases, exposure: Exposure, refused: Callable[[], Response]) -> None:
    """The route; ``refused`` answers those who may not read it, as if there was none."""

    async def metrics(request: Request) -> Response:
        if not may_read(request, exposure):
            return refused()
        try:
            content = await anyio.to_thread.run_sync(exposition, service.state, abandon_on_cancel=True)
        except asyncio.CancelledError:
            return _unavailable("the server stops")
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE):
                raise
            # No descriptor is left to read with what other processes have counted.
            return _unavailable(error.strerror or "no descriptor is left")
        return Response(content, headers={"Content-Type": CONTENT_TYPE_LATEST, "Cache-Control": "no-store"})

    api.add_api_route(
        PATH, metrics, methods=["GET"], summary="Numbers for Prometheus.", tags=["health"], response_class=Response
    )


def _unavailable(why: str) -> Response:
    return Response(f"{why}\n", 503, {"Cache-Control": "no-store"}, "text/plain")


def markdown() -> str:
    """Every metric of ours as a row of a Markdown table."""
    rows = ["| metric | type | labels | meaning |", "|---|---|---|---|"]
    for family in REGISTRY.collect():
        if family.name.startswith("aipface_"):
            labels = " ".join(f"`{label}`" for label in LABELS.get(family.name, ()))
            suffix = "_total" if family.type == "counter" else ""
            rows.append(f"| `{family.name}{suffix}` | {family.type} | {labels} | {family.documentation} |")
    rows.append(f"| `{_INFO[0]}_info` | info | `version` `pack` `model` `provider` `backend` | {_INFO[1]} |")
    rows += [f"| `{name}` | gauge | | {text} |" for name, text, _ in _GAUGES]
    return "\n".join(rows)
