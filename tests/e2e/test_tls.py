"""Clients that nobody changed: they believe in the cloud's host, its name leads here, and they trust our authority."""

from __future__ import annotations

import json
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import httpx
import pytest
import requests
from aip import AipFace

from service.access.certificates import SERVER_DAYS
from service.cli.failures import FAILED
from tests.fixtures.node import NodeSdk
from tests.fixtures.pictures import Pictures
from tests.fixtures.server import Home, LiveServer, temporary_home

CLOUD_HOST = "aip.baidubce.com"
SCRIPT = Path(__file__).with_name("node_client.js")
JAVA_PROGRAM = Path(__file__).with_name("TrustingClient.java")
JAVA = all(shutil.which(program) for program in ("java", "javac", "keytool"))
PRELOAD = Path(__file__).with_name("cloud_is_here.js")


@pytest.fixture(scope="module")
def secure(model_dir: Path) -> Iterator[LiveServer]:
    """A server that answers TLS with a certificate of ``aipface tls init``."""
    del model_dir
    with temporary_home(CREATE_FIRST_APP="false") as home:
        done = home.run("tls", "init", "--name", "faces.example")
        assert done.returncode == 0, done.stderr
        home.verify = ssl.create_default_context(cafile=str(authority(home)))
        with home.serving(TLS="true") as running:
            assert running.base_url.startswith("https://127.0.0.1:")
            yield LiveServer(running.base_url, home.create_app("tls"), home)


def authority(home: Home) -> Path:
    return home.folder / "tls" / "ca.pem"


@pytest.fixture
def name_leads_here(secure: LiveServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process the cloud's name and port resolve to the server's, as a hosts entry does."""
    port, real = urlsplit(secure.base_url).port, socket.getaddrinfo

    def resolve(host: Any, service: Any, *rest: Any, **options: Any) -> Any:
        return (
            real("127.0.0.1", port, *rest, **options) if host == CLOUD_HOST else real(host, service, *rest, **options)
        )

    monkeypatch.setattr(socket, "getaddrinfo", resolve)


@pytest.mark.usefixtures("name_leads_here")
@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")  # this client checks no certificate
@pytest.mark.parametrize("signed", [False, True])
def test_the_unmodified_python_client(secure: LiveServer, pictures: Pictures, *, signed: bool) -> None:
    keys = secure.credentials
    client = AipFace(keys.app_id, keys.api_key, keys.secret_key)
    client.s.trust_env = False
    client._isCloudUser = signed or None
    group = f"python_{signed}"
    assert client.addUser(pictures.base64("obama.jpg"), "BASE64", group, "barack")["error_code"] == 0
    found = client.search(pictures.base64("obama2.jpg"), "BASE64", group)
    assert found["result"]["user_list"][0]["user_id"] == "barack"
    client.s.close()


@pytest.mark.usefixtures("name_leads_here")
def test_a_client_that_checks_certificates_trusts_the_authority_alone(secure: LiveServer) -> None:
    session = requests.Session()
    session.trust_env = False
    answer = session.get(f"https://{CLOUD_HOST}/healthz", verify=str(authority(secure.home)), timeout=10)
    assert answer.status_code == 200
    with pytest.raises(requests.exceptions.SSLError, match="CERTIFICATE_VERIFY_FAILED"):
        session.get(f"https://{CLOUD_HOST}/healthz", timeout=10)
    session.close()


def test_the_unmodified_node_client(secure: LiveServer, node_sdk: NodeSdk, pictures: Pictures) -> None:
    keys = secure.credentials
    request = {
        "base_url": f"https://{CLOUD_HOST}",
        "app_id": keys.app_id,
        "api_key": keys.api_key,
        "secret_key": keys.secret_key,
        "calls": [
            ["addUser", pictures.base64("obama.jpg"), "BASE64", "node", "barack"],
            ["search", pictures.base64("obama2.jpg"), "BASE64", "node", {}],
        ],
    }
    environment = {
        "NODE_EXTRA_CA_CERTS": str(authority(secure.home)),
        "NODE_OPTIONS": f"--require {PRELOAD}",
        "CLOUD_PORT": str(urlsplit(secure.base_url).port),
    }
    added, found = cast(list[Any], node_sdk.run(SCRIPT, request, environment=environment))
    assert added["error_code"] == 0
    assert found["result"]["user_list"][0]["user_id"] == "barack"


@pytest.mark.skipif(not JAVA, reason="no Java with a compiler")
def test_java_trusts_the_authority_in_a_store_of_its_own(secure: LiveServer, tmp_path: Path) -> None:
    """The steps of docs/clients.md. Its SDK is not run; it asks by the same class of the Java library."""
    store = tmp_path / "trust.p12"
    imported = ["-alias", "aipface", "-file", str(authority(secure.home)), "-keystore", str(store)]
    subprocess.run(
        ["keytool", "-importcert", "-noprompt", "-storepass", "changeit", *imported], check=True, capture_output=True
    )
    hosts = tmp_path / "hosts"
    hosts.write_text(f"127.0.0.1 {CLOUD_HOST}\n", encoding="utf-8")
    keys = secure.credentials
    form = f"grant_type=client_credentials&client_id={keys.api_key}&client_secret={keys.secret_key}"
    address = f"https://{CLOUD_HOST}:{urlsplit(secure.base_url).port}/oauth/2.0/token"

    trust = [f"-Djavax.net.ssl.trustStore={store}", "-Djavax.net.ssl.trustStorePassword=changeit"]
    command = ["java", f"-Djdk.net.hosts.file={hosts}", *trust, str(JAVA_PROGRAM), address, form]
    answered = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answered.returncode == 0, answered.stderr
    assert json.loads(answered.stdout)["expires_in"] == 2592000


def test_a_renewed_certificate_is_trusted_as_before(secure: LiveServer) -> None:
    """Clients trust the authority, which stays; the running server keeps what it has loaded."""
    before = json.loads(secure.home.run("tls", "show", "--json").stdout)
    done = secure.home.run("tls", "renew")
    assert done.returncode == 0, done.stderr
    after = json.loads(secure.home.run("tls", "show", "--json").stdout)
    assert after["ca.pem"] == before["ca.pem"]
    assert after["server.pem"]["sha256"] != before["server.pem"]["sha256"]
    assert after["server.pem"]["names"] == [CLOUD_HOST, "localhost", "127.0.0.1", "faces.example"]
    context = ssl.create_default_context(cafile=str(authority(secure.home)))
    assert httpx.get(f"{secure.base_url}/healthz", verify=context, trust_env=False).status_code == 200
    metrics = httpx.get(f"{secure.base_url}/metrics", verify=context, trust_env=False).text
    days = float(metrics.partition("\naipface_certificate_days ")[2].split()[0])
    assert SERVER_DAYS - 1 < days < SERVER_DAYS
    for command in (["init"], ["renew", "--name", "other.example"]):
        refused = secure.home.run("tls", *command)
        assert refused.returncode == FAILED
        assert "Traceback" not in refused.stderr
