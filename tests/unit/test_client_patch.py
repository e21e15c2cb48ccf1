"""The patch of the official Python client."""

from __future__ import annotations

import pytest
from aip import AipFace, AipOcr
from aip.base import AipBase

from service.client_patch import patch

CLOUD = "https://aip.baidubce.com"


def addresses(client: object) -> list[str]:
    return [value for name in dir(client) if isinstance(value := getattr(client, name), str) and "://" in value]


def test_every_address_of_a_class_changes_and_no_other_class() -> None:
    class Ours(AipFace):  # type: ignore[misc]
        pass

    before = sorted(addresses(AipFace))
    patch(Ours, "http://127.0.0.1:8000/")
    assert sorted(addresses(Ours)) == [address.replace(CLOUD, "http://127.0.0.1:8000") for address in before]
    assert len(before) > 20
    patch(Ours, "https://other:1/behind/a/proxy")
    patch(Ours, "https://third")
    assert all(
        address.startswith(("https://third/rest/", "https://third/oauth/", "https://third/rpc/"))
        for address in addresses(Ours)
    )
    assert sorted(addresses(AipFace)) == before
    for other in (AipBase, AipOcr):
        assert all(address.startswith(CLOUD) for address in addresses(other))


def test_one_object_alone() -> None:
    one, two = (AipFace("a", "b", "c") for _ in range(2))
    patch(one, "http://here")
    assert all(address.startswith("http://here/") for address in addresses(one))
    assert not any(address.startswith("http://here/") for address in addresses(two))


@pytest.mark.parametrize("address", ["", "127.0.0.1:8000", "ftp://host", "http://", "http://h/?a=b"])
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(ValueError, match="no address"):
        patch(AipFace, address)


def test_what_is_no_client() -> None:
    with pytest.raises(ValueError, match="baidu-aip"):
        patch(object(), "http://here")
