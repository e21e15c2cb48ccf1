"""Failed log-ins, counted and limited.

Counted are pairs of a key and an address, and addresses by themselves. A key alone is not: then whoever knows it,
and it is no secret, could keep its owner out from anywhere. What a key's owner gets wrong from one address keeps that
address out and no other, and an address that failed with many keys still gets in with those that have worked there.
"""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Iterator

from service.access.failures import Failures
from service.errors import AccessError, TooManyFailures

OF_ADDRESS = 5
"""An address may fail so many times as often, with all keys together, as with one of them."""

_IPV6_PREFIX = 64
"""Whoever has one IPv6 address has the rest of its network (RFC 6177): they count as one."""


class Attempts:
    """Lets attempts to log in through until too many have failed. Thread-safe."""

    def __init__(self, failures: int, counted: Failures) -> None:
        """``failures`` is how many of one key from one address are looked at within the windows of ``counted``."""
        self._most = failures
        self._counted = counted

    @contextlib.contextmanager
    def attempt(self, key: str, address: str) -> Iterator[None]:
        """Check keys within the block; an ``AccessError`` raised there is a failure.

        Raises ``TooManyFailures``, before anything is looked at, where too many have failed: not even the right
        secret is told from a wrong one then.
        """
        place = network(address)
        pair, alone = self._counted.name(key, place), self._counted.name(place)
        if self._counted.known(pair) >= self._most:
            raise TooManyFailures
        if self._counted.known(alone) >= OF_ADDRESS * self._most and not self._counted.has_worked(pair):
            raise TooManyFailures
        try:
            yield
        except AccessError:
            self._counted.add(pair, alone)
            raise
        self._counted.succeeded(pair)


def network(address: str) -> str:
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
