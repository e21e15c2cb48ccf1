"""Seal pictures for an aipface-server and ask it whether they show a living person.

    python capture_envelope.py http://127.0.0.1:8000 API_KEY SECRET_KEY face.jpg

needs ``pip install joserfc requests``. ``seal`` is the part that belongs on the device that takes the pictures: it
needs the public keys only. Fetching them and calling the API is for the server behind it, which has the app's secret.
"""

from __future__ import annotations

import base64
import json
import secrets
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import requests
from joserfc import jwe
from joserfc.jwk import ECKey

SECONDS = 60


class Registry(jwe.JWERegistry):
    """joserfc allows 64 KB by itself."""

    max_ciphertext_length = 2**30


def seal(keys: Sequence[Mapping[str, Any]], pictures: Sequence[bytes], device_id: str) -> str:
    """A capture envelope with pictures that were just taken, under the app's elliptic curve key."""
    key = next(key for key in keys if key["alg"] == "ECDH-ES")
    content = {
        "images": [base64.b64encode(picture).decode() for picture in pictures],
        "nonce": secrets.token_urlsafe(16),
        "timestamp": int(time.time()),
        "device_id": device_id,
    }
    header = {"alg": "ECDH-ES", "enc": "A256GCM", "kid": key["kid"]}
    registry = Registry(algorithms=["ECDH-ES", "A256GCM"])
    return jwe.encrypt_compact(header, json.dumps(content), ECKey.import_key(dict(key)), registry=registry)


def main(server: str, api_key: str, secret_key: str, *paths: str) -> None:
    """Print the server's answer."""
    grant = {"grant_type": "client_credentials", "client_id": api_key, "client_secret": secret_key}
    token = requests.post(f"{server}/oauth/2.0/token", data=grant, timeout=SECONDS).json()["access_token"]
    query = {"access_token": token}
    keys = requests.get(f"{server}/envelope/v1/keys", params=query, timeout=SECONDS).json()["keys"]
    data = seal(keys, [Path(path).read_bytes() for path in paths], device_id="example-device")
    call = {"sdk_version": "4", "app": "android", "data": data, "risk_identify": "true"}
    print(requests.post(f"{server}/rest/2.0/face/v4/faceverify", params=query, json=call, timeout=SECONDS).text)


if __name__ == "__main__":
    main(*sys.argv[1:])
