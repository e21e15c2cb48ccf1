"""Failed log-ins, counted and limited.

Failures are counted for each pair of a key and an address, and for each address over all keys. They are not counted for
a key alone: API keys are no secret, so anybody could lock a key's owner out everywhere by failing with it on purpose.
Too many failures of a pair block that pair only. Too many failures of an address block it for every key but those that
have already worked from there.
"""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Iterator

from service.access.failures import Failures
from service.errors import AccessError, TooManyFailures

ADDRESS_FACTOR = 5
"""An address may fail this many times as often, over all keys, as it may with a single key."""

_IPV6_PREFIX = 64
"""Bits of an IPv6 network that one subscriber gets as a whole (RFC 6177); all its addresses count as one."""


class Attempts:
    """Lets attempts to log in through until too many have failed. Thread-safe."""

    def __init__(self, failures: int, counted: Failures) -> None:
        """``failures``: how often one key may fail from one address within a window of ``counted``."""
        self._most = failures
        self._counted = counted

    @contextlib.contextmanager
    def attempt(self, key: str, address: str) -> Iterator[None]:
        """Check keys within the block; an ``AccessError`` raised there counts as a failure.

        Raises ``TooManyFailures`` before the block runs when there were too many failures. The right secret is refused
        then, too, so that an attacker cannot tell it from a wrong one.
        """
        place = network(address)
        pair, alone = self._counted.name(key, place), self._counted.name(place)
        if self._counted.known(pair) >= self._most:
            raise TooManyFailures
        if self._counted.known(alone) >= ADDRESS_FACTOR * self._most and not self._counted.has_worked(pair):
            raise TooManyFailures
        try:
            yield
        except AccessError:
            self._counted.add(pair, alone)
            raise
        self._counted.succeeded(pair)


def network(address: str) -> str:
    """What an address is counted as: itself, for IPv6 its /64 network, for an IPv4-mapped address the IPv4 one."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if parsed.version == 4:
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((int(parsed), _IPV6_PREFIX), strict=False))
