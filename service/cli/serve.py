"""``aipface serve``: one process from nothing to ready, and back to nothing."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import faulthandler
import gc
import ipaddress
import math
import resource
import signal
import socket
import ssl
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Protocol

import typer

from service.cli.apps import check_output, show_credentials
from service.cli.common import effective_settings
from service.cli.failures import Failure
from service.cli.progress import shown_progress
from service.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from fastapi import FastAPI

    from service.app import Service
    from service.settings import Settings

BACKLOG = 2048
"""Connections that may wait to be accepted."""

ACCEPTED_AT_ONCE = 16
"""Most connections that asyncio's event loop accepts before it does anything else; it takes as many as may wait.
uvloop accepts them one by one."""

KEEP_ALIVE_SECONDS = 75
"""Longer than the 60 s after which common proxies and clients drop an idle connection: they close it, not we."""

SWITCH_SECONDS = 0.0005
"""How long a thread may compute in Python while another one waits to."""

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)

INTERRUPTED = 130
"""Exit status of what a signal ended and can go on later, whichever signal it was."""


def serve(
    *,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes any free one.")] = None,
    tls: Annotated[bool | None, typer.Option("--tls", help="Answer TLS, on port 443 if no other is named.")] = None,
    processes: Annotated[int | None, typer.Option(help="Server processes that share the port.")] = None,
    member: Annotated[str | None, typer.Option(hidden=True)] = None,
) -> None:
    """Run the server. The first start fetches the weights and creates an app."""
    from service.logs import configure_logging

    named = {"host": host, "port": port, "tls": tls, "processes": processes}
    if member is not None:
        from service.cli.member import Member

        place = Member(member)
        settings = place.settings(**named)
        configure_logging(settings.log_level, settings.log_format, numbered=True)
        with stopped_by_signals(told=False), place.listener:
            _serve(settings, place, _certificate(settings, warn=False))
        return
    settings = effective_settings(**named)
    configure_logging(settings.log_level, settings.log_format, numbered=settings.processes > 1)
    certificate = _certificate(settings)
    with stopped_by_signals(), reserved(settings.host, settings.port) as listener:
        alone = _Alone(listener, tls=certificate is not None)
        if settings.processes == 1:
            _serve(settings, alone, certificate)
            return
        from service.cli.processes import run_processes

        try:
            run_processes(settings.processes, listener, alone.ready)
        finally:
            if settings.database_url is None:
                _sweep_database(settings.home)


class _Place(Protocol):
    """Where a server stands: the socket that it answers on, bound, and who is told of it."""

    @property
    def listener(self) -> socket.socket: ...

    def ready(self) -> None: ...

    def stopping(self) -> bool: ...


class _Alone:
    """A server that no other process is above."""

    def __init__(self, listener: socket.socket, *, tls: bool) -> None:
        self.listener = listener
        self._tls = tls
        self._told = False

    def ready(self) -> None:
        typer.echo(f"ready on {public_address(self.listener, tls=self._tls)}")

    def stopping(self) -> bool:
        """Whether it was told so before."""
        before, self._told = self._told, True
        return before


def _sweep_database(home: Path) -> None:
    """Leave no embedded PostgreSQL behind that processes had which were killed."""
    from service.storage.embedded import EmbeddedPostgres

    with contextlib.suppress(DatabaseUnavailable, OSError):
        EmbeddedPostgres(home).sweep()


def _serve(settings: Settings, place: _Place, certificate: tuple[Path, Path] | None) -> None:
    """Be a server, from nothing to ready, which is told, and until a signal comes."""
    with contextlib.suppress(RuntimeError, OSError, ValueError):  # standard error may be closed
        faulthandler.enable()  # a crash, or who ends one that hangs, shows where every thread was
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # but leaves no faces and keys on the disk
    _take_descriptors()
    with contextlib.ExitStack() as stack:
        stack.enter_context(_traced(settings))
        from service.app import create_app, open_service

        with shown_progress() as progress:
            running = stack.enter_context(open_service(settings, progress=progress))
        _introduce_first_app(running, settings)
        _answer(create_app(running), place, settings, certificate)


def _take_descriptors() -> None:
    """Have as many as the system grants: the 1,024 that it begins with are gone with as many idle connections."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):  # macOS grants less than it says
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


@contextlib.contextmanager
def stopped_by_signals(*, told: bool = True) -> Iterator[None]:
    """Let Ctrl-C, SIGTERM and a closed terminal end the block at any moment, ``finally`` clauses included, normally.

    The first signal unwinds; further ones are ignored, so that an impatient second Ctrl-C leaves no database behind.
    """

    def unwind(number: int, frame: FrameType | None) -> None:
        del number, frame
        for each in STOP_SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    def hang_up(number: int, frame: FrameType | None) -> None:
        del number, frame
        signal.raise_signal(signal.SIGTERM)  # which the web server listens to while it runs

    before = {number: signal.signal(number, unwind) for number in STOP_SIGNALS}
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup leaves it
        before[signal.SIGHUP] = signal.signal(signal.SIGHUP, hang_up)
    try:
        yield
    except KeyboardInterrupt:
        with contextlib.suppress(OSError):  # nobody can be told in a terminal that was closed
            if told:
                typer.echo("stopped", err=True)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def interruptible(told: str) -> Iterator[None]:
    """As ``stopped_by_signals`` for what can be done again: after a signal it is ``told``, and the status is 130."""
    finished = False
    with stopped_by_signals():
        yield
        finished = True
    if not finished:
        typer.echo(told, err=True)
        raise typer.Exit(INTERRUPTED)


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """Let the first signal unwind the block, its ``finally`` clauses included, and the program end with 128 + signal.

    Without this SIGTERM and a closed terminal would leave the embedded PostgreSQL running, and drafts of files. What
    was ignored before stays ignored. ``stopped_by_signals`` may stand within.
    """

    def unwind(number: int, frame: FrameType | None) -> None:
        del frame
        for each in before:
            signal.signal(each, signal.SIG_IGN)
        if number == signal.SIGINT:
            raise KeyboardInterrupt  # of which Typer makes 130, and a prompt its end
        raise SystemExit(128 + number)

    heard = [each for each in (*STOP_SIGNALS, signal.SIGHUP) if signal.getsignal(each) is not signal.SIG_IGN]
    before = {number: signal.signal(number, unwind) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def reserved(host: str, port: int) -> Iterator[socket.socket]:
    """A socket bound to the address and not yet listening.

    It is taken first, so that a port in use is told at once, and listens last, when everything is warm.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:  # the latter for a name that none can have
        reason = error.strerror if isinstance(error, OSError) else error
        raise Failure(f"{host} is no address to listen on: {reason}") from None
    with contextlib.closing(listener):
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with _address_failures(host, port):
            listener.bind(address)
        yield listener


@contextlib.contextmanager
def _address_failures(host: str, port: int) -> Iterator[None]:
    """A port that is taken, or becomes taken before we listen, as one sentence."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            other = port + 1 if port < 65535 else 0
            raise Failure(
                f"port {port} of {host} is in use by another program; stop it, or take another port: "
                f"aipface serve --port {other}"
            ) from None
        if error.errno == errno.EACCES and 0 < port < 1024:
            raise Failure(
                f"port {port} is reserved for the system; take one from 1024 up, or grant the right"
            ) from None
        if error.errno == errno.EADDRNOTAVAIL:
            raise Failure(f"{host} is not an address of this machine; 127.0.0.1 and 0.0.0.0 always are") from None
        raise


def _introduce_first_app(running: Service, settings: Settings) -> None:
    """Create an app where there is none, and show its keys: the one moment they can be shown.

    Raises ``Failure`` where standard output takes nothing: by the next start the app is no first one any more.
    """
    if not settings.create_first_app or running.apps.list():
        return
    check_output()
    introduction = "A first app was created. Keep its keys: the secret key is not shown again.\n"
    show_credentials(running.apps.create("first app"), as_json=False, introduction=introduction)


def _certificate(settings: Settings, *, warn: bool = True) -> tuple[Path, Path] | None:
    """Certificate and key to answer with, checked; ``None`` for plain HTTP. Raises ``Failure``."""
    if not settings.tls:
        if settings.tls_cert is not None and warn:
            typer.echo(
                "aipface: warning: a certificate is named and plain HTTP is answered: --tls is missing", err=True
            )
        return None
    from service.access import certificates

    folder = settings.tls_folder
    certificate = settings.tls_cert or folder / certificates.SERVER_CERTIFICATE
    key = settings.tls_key or folder / certificates.SERVER_KEY
    if settings.tls_cert is None and not certificates.is_there(certificate):
        raise Failure("there is no certificate yet: aipface tls init makes one, AIPFACE_TLS_CERT names your own")
    described = certificates.describe(certificate)
    if described.days_left < certificates.RENEWAL_DAYS and warn:
        typer.echo(f"aipface: warning: the certificate {certificate} {described.end}", err=True)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise Failure(f"certificate {certificate} and key {key} cannot be used together: {error.strerror}") from None
    return certificate, key


@contextlib.contextmanager
def _traced(settings: Settings) -> Iterator[None]:
    """Calls are traced within the block, if there is a collector. Raises ``Failure`` where that cannot be."""
    from service.tracing import TracingUnavailable, traced

    endpoint = settings.otlp_endpoint
    try:
        with traced(None if endpoint is None else str(endpoint)):
            yield
    except TracingUnavailable as error:
        raise Failure(str(error)) from None


def _settle_interpreter() -> None:
    """What was made while starting stays for good: the collector need not walk over it again and again.

    It stops every thread meanwhile, the event loop's too. And a thread that comes back from a network would wait up to
    the interval for one that computes in Python, 5 ms by default, while a processor idles.
    """
    gc.collect()
    gc.freeze()
    sys.setswitchinterval(SWITCH_SECONDS)


def _answer(application: FastAPI, place: _Place, settings: Settings, certificate: tuple[Path, Path] | None) -> None:
    """Listen and answer until a signal comes and the delay is over; running requests may finish within the grace."""
    import anyio.to_thread
    import uvicorn

    from service.cli.connections import Patience, bounded_protocol
    from service.cli.expiry import remind_daily

    patience = Patience(settings.header_timeout, settings.body_timeout)

    class Announcing(uvicorn.Server):
        """Says that it is ready when it is, and that it no longer is before it stops."""

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            again = place.stopping()
            if settings.shutdown_delay == 0 or (patience.draining and again):
                super().handle_exit(sig, frame)
            if settings.shutdown_delay == 0 or patience.draining:
                return
            patience.draining = application.state.draining = True
            asyncio.get_running_loop().call_later(settings.shutdown_delay, super().handle_exit, sig, frame)

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            if certificate is not None:
                remind_daily(asyncio.get_running_loop(), certificate[0])
            await anyio.to_thread.run_sync(
                _settle_interpreter
            )  # in a thread, whose making the first call need not await
            await super().startup(sockets=sockets)
            if self.started:
                place.listener.listen(BACKLOG)
                if not self.should_exit:
                    place.ready()

    config = uvicorn.Config(
        application,
        log_config=None,  # service.logs has set it up
        access_log=False,  # the API logs its calls itself, with the log id and without the query
        http=bounded_protocol(patience),
        ws="none",
        server_header=False,
        # Anybody can write such a header: it is believed of those alone whom the operator names.
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=believed(settings.trusted_proxies),
        backlog=ACCEPTED_AT_ONCE,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=math.ceil(settings.shutdown_grace),
        ssl_certfile=None if certificate is None else certificate[0],
        ssl_keyfile=None if certificate is None else certificate[1],
    )
    server = Announcing(config)
    with _address_failures(settings.host, settings.port):
        server.run(sockets=[place.listener])
    if not server.started:
        raise Failure("the server did not start; the log above says why")


def public_address(listener: socket.socket, *, tls: bool = False) -> str:
    """The address to type into a client; for "all interfaces" the loopback one."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 (compared, not bound)
    scheme = "https" if tls else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def believed(proxies: Sequence[str]) -> list[str]:
    """The proxies, and those of IPv4 also as a server sees them that listens on ``::``: ``::ffff:10.0.0.1``."""
    networks = map(ipaddress.ip_network, proxies)
    mapped = [f"::ffff:{each.network_address}/{96 + each.prefixlen}" for each in networks if each.version == 4]
    return [*proxies, *mapped]
