"""Which addresses count as public."""

from __future__ import annotations

import ipaddress

import pytest

from service.images.addresses import AllowList, is_public

REFUSED = [
    "0.0.0.0",  # noqa: S104 (refused, not listened on)
    "10.0.0.1",
    "100.64.0.1",  # shared; Alibaba's metadata service is 100.100.100.200
    "100.100.100.200",
    "127.0.0.1",
    "127.8.8.8",
    "168.63.129.16",  # Azure's host agent
    "169.254.169.254",  # metadata services of most clouds
    "172.16.0.1",
    "192.0.0.192",  # Oracle's metadata service
    "192.168.1.1",
    "192.88.99.1",
    "198.18.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::127.0.0.1",
    "64:ff9b::10.0.0.1",
    "64:ff9b::169.254.169.254",
    "64:ff9b:1::127.0.0.1",
    "64:ff9b:1:7f00:0:100:808:808",  # 127.0.0.1 behind a prefix of 48 bits, 8.8.8.8 at the end
    "64:ff9b:1::8.8.8.8",
    "2002:7f00:1::",  # 6to4 of 127.0.0.1
    "2002:a00:1::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",  # Teredo
    "2001:db8::1",
    "fc00::1",
    "fd00:ec2::254",  # Amazon's metadata service
    "fe80::1",
    "fec0::1",
    "ff02::1",
]


@pytest.mark.parametrize("text", REFUSED)
def test_addresses_inside_are_not_public(text: str) -> None:
    assert not is_public(ipaddress.ip_address(text))


@pytest.mark.parametrize("text", ["8.8.8.8", "93.184.216.34", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8"])
def test_addresses_of_the_internet_are_public(text: str) -> None:
    assert is_public(ipaddress.ip_address(text))


@pytest.mark.parametrize("entry", ["pictures.internal", "PICTURES.internal.", "10.1.2.3", "10.0.0.0/8", "10.1.2.9/24"])
def test_operators_permit_hosts_and_networks(entry: str) -> None:
    inside = ipaddress.ip_address("10.1.2.3")
    assert not AllowList([]).permits("pictures.internal", inside)
    assert AllowList([entry]).permits("pictures.internal", inside)
    assert not AllowList([entry]).permits("other.internal", ipaddress.ip_address("192.168.0.1"))


def test_operators_permit_a_translator_of_their_own() -> None:
    behind = ipaddress.ip_address("64:ff9b:1:808:8:800::")  # 8.8.8.8 behind a prefix of 48 bits
    assert not AllowList([]).permits("pictures.example", behind)
    assert AllowList(["64:ff9b:1::/48"]).permits("pictures.example", behind)


def test_hosts_with_letters_beyond_ascii_are_known_in_both_forms() -> None:
    inside = ipaddress.ip_address("10.0.0.1")
    for entry in ("bücher.intern", "BÜCHER.intern.", "xn--bcher-kva.intern"):
        for host in ("xn--bcher-kva.intern", "bücher.intern"):
            assert AllowList([entry]).permits(host, inside)
    assert not AllowList(["bücher.intern"]).permits("bucher.intern", inside)
    assert AllowList(["a..b", "under_score.intern"]).permits("under_score.intern", inside)
