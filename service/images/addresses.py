"""Which network addresses a picture may be fetched from."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from contextlib import suppress

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# Addresses that embed an IPv4 address in their last 32 bits: NAT64 (RFC 6052).
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")

# What Python's own tests leave out, or have judged differently from version to version.
_REFUSED: tuple[Network, ...] = (
    ipaddress.IPv4Network("100.64.0.0/10"),  # shared; Alibaba's metadata service
    ipaddress.IPv4Network("168.63.129.16/32"),  # Azure's host agent, on an address of the public range
    ipaddress.IPv4Network("192.0.0.0/24"),  # protocol assignments; Oracle's metadata service
    ipaddress.IPv4Network("192.88.99.0/24"),  # 6to4 relays
    ipaddress.IPv4Network("198.18.0.0/15"),  # benchmarking
    ipaddress.IPv6Network("::/96"),  # IPv4-compatible
    ipaddress.IPv6Network("64:ff9b:1::/48"),  # local NAT64 (RFC 8215): the IPv4 address may stand anywhere in it
    ipaddress.IPv6Network("2001::/23"),  # protocol assignments, Teredo among them
    ipaddress.IPv6Network("fec0::/10"),  # site-local
)


def is_public(address: Address) -> bool:
    """Whether ``address`` belongs to the open internet.

    Refused: private, loopback, link-local (where cloud metadata services live), shared, multicast, unspecified and
    reserved addresses, and the IPv6 forms of such IPv4 addresses.
    """
    embedded = _embedded(address) if isinstance(address, ipaddress.IPv6Address) else None
    if embedded is not None:
        return is_public(embedded)
    refused = (
        any(address in network for network in _REFUSED)
        or address.is_private
        or address.is_loopback
        or address.is_link_local
        or address.is_multicast
        or address.is_unspecified
        or address.is_reserved
    )
    return address.is_global and not refused


def _embedded(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that traffic to ``address`` would reach, for the forms that carry one."""
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour


class AllowList:
    """Hosts and networks that an operator permits although they are not public.

    Entries are host names (compared without regard to case, and letters beyond ASCII in the form that name servers
    know), addresses, or networks such as ``10.1.0.0/16``.
    """

    def __init__(self, entries: Sequence[str]) -> None:
        self._hosts: set[str] = set()
        self._networks: list[Network] = []
        for entry in entries:
            try:
                self._networks.append(ipaddress.ip_network(entry, strict=False))
            except ValueError:
                self._hosts.add(_as_asked_for(entry))

    def permits(self, host: str, address: Address) -> bool:
        """Whether ``address``, to which ``host`` resolved, may be connected to."""
        if _as_asked_for(host) in self._hosts:
            return True
        return any(address in network for network in self._networks) or is_public(address)


def _as_asked_for(host: str) -> str:
    with suppress(UnicodeError):
        host = host.encode("idna").decode("ascii")
    return host.lower().rstrip(".")
