"""Lets the official Python client (``baidu-aip``) talk to this server: it has no setting for its host.

    from aip import AipFace
    from service.client_patch import patch

    patch(AipFace, "http://127.0.0.1:8000")

Needs nothing but the standard library, so a program that does not install aipface-server may take this file along:
``from client_patch import patch``.
"""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit

_MANGLED = "__"


def patch(client: object, base_url: str) -> None:
    """Send the calls of ``client`` to ``base_url`` (``http://host:port``, or with a path in front of the API's).

    ``client`` is the class, for every object made of it, or one object. Other classes of the SDK, its own base among
    them, go on to the cloud. A second call may name another address. Raises ``ValueError`` for what is no address, and
    for a client that has no addresses to change.
    """
    base = urlsplit(base_url)
    if base.scheme not in {"http", "https"} or not base.netloc or base.query or base.fragment:
        raise ValueError(f"{base_url!r} is no address such as http://127.0.0.1:8000")
    addresses = {
        name: value
        for name in dir(client)
        if _MANGLED in name.lstrip("_") and isinstance(value := getattr(client, name), str) and "://" in value
    }
    if not addresses:
        raise ValueError(f"{client!r} names no address; is it the client of baidu-aip?")
    for name, value in addresses.items():
        # The API's paths begin with one of these, whatever stood in front at an earlier call.
        path = urlsplit(value).path
        start = min((at for root in ("/rest/", "/oauth/", "/rpc/") if (at := path.find(root)) >= 0), default=0)
        setattr(client, name, urlunsplit((base.scheme, base.netloc, base.path.rstrip("/") + path[start:], "", "")))
