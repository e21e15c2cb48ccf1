"""Failed log-ins, counted and limited.

Counted are pairs of a key and an address, and addresses by themselves. A key alone is not: then whoever knows it,
and it is no secret, could keep its owner out from anywhere. What a key's owner gets wrong from one address keeps that
address out and no other, and an address that failed with many keys still gets in with those that have worked there.

Each process counts by itself, in bounded memory: what was counted longest ago is forgotten first.
"""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from service.errors import AccessError, TooManyFailures

CAPACITY = 20_000
"""Most pairs and addresses that are counted, and most pairs that are known to have worked: some megabytes."""

OF_ADDRESS = 5
"""An address may fail so many times as often, with all keys together, as with one of them."""

_IPV6_PREFIX = 64
"""Whoever has one IPv6 address has the rest of its network (RFC 6177): they count as one."""


@dataclass(slots=True)
class _Window:
    ends: float
    failures: int = 0


class Attempts:
    """Counts failures of ``window_seconds``, from the first one on. Thread-safe."""

    def __init__(self, failures: int, window_seconds: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        """``failures`` is how many of one key from one address are looked at; ``clock`` tells seconds."""
        self._failures = failures
        self._seconds = window_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._windows: OrderedDict[bytes, _Window] = OrderedDict()
        self._worked: OrderedDict[bytes, None] = OrderedDict()

    @contextlib.contextmanager
    def attempt(self, key: str, address: str) -> Iterator[None]:
        """Check keys within the block; an ``AccessError`` raised there is a failure.

        Raises ``TooManyFailures``, before anything is looked at, where too many have failed: not even the right
        secret is told from a wrong one then.
        """
        place = _network(address)
        pair, alone = _digest(key, place), _digest(place)
        with self._lock:
            self._refuse(pair, alone)
        try:
            yield
        except AccessError:
            with self._lock:
                self._count(pair)
                self._count(alone)
            raise
        with self._lock:
            self._windows.pop(pair, None)
            self._worked[pair] = None
            self._worked.move_to_end(pair)
            if len(self._worked) > CAPACITY:
                self._worked.popitem(last=False)

    def _refuse(self, pair: bytes, alone: bytes) -> None:
        if self._counted(pair) >= self._failures:
            raise TooManyFailures
        if self._counted(alone) >= OF_ADDRESS * self._failures and pair not in self._worked:
            raise TooManyFailures

    def _counted(self, name: bytes) -> int:
        window = self._windows.get(name)
        if window is None or self._clock() >= window.ends:
            return 0
        return window.failures

    def _count(self, name: bytes) -> None:
        window = self._windows.get(name)
        now = self._clock()
        if window is None or now >= window.ends:
            window = self._windows[name] = _Window(now + self._seconds)
        window.failures += 1
        self._windows.move_to_end(name)
        if len(self._windows) > CAPACITY:
            self._windows.popitem(last=False)


def _digest(*parts: str) -> bytes:
    """A short name for something that may be long: nobody can fill the memory with it."""
    return hashlib.blake2b("\0".join(parts).encode(errors="surrogatepass"), digest_size=16).digest()


def _network(address: str) -> str:
    """The address, or for IPv6 its network; an IPv4 address in the clothes of IPv6 is that address."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if parsed.version == 4:
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((int(parsed), _IPV6_PREFIX), strict=False))
