"""The container files, without a container engine: what they say, and that they say nothing unsafe."""

from __future__ import annotations

import re
import runpy
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.fixtures.places import ROOT

Parsed = list[tuple[str, str]]


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    return content


@pytest.fixture(scope="module")
def dockerfile() -> Parsed:
    script = runpy.run_path(str(ROOT / "deploy" / "check-dockerfile"), run_name="imported")
    found: Parsed = script["instructions"]((ROOT / "Dockerfile").read_text(encoding="utf-8"))
    return found


def final_stage(parsed: Parsed) -> Parsed:
    last = max(number for number, (word, _) in enumerate(parsed) if word == "FROM")
    return parsed[last:]


def test_nothing_has_a_default_secret(compose: dict[str, Any]) -> None:
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    secrets = re.findall(r"\$\{(AIPFACE_DB_PASSWORD|AIPFACE_SECRET_KEY)([^}]*)\}", text)
    assert {name for name, _ in secrets} == {"AIPFACE_DB_PASSWORD", "AIPFACE_SECRET_KEY"}
    assert all(rest.startswith(":?") for _, rest in secrets)  # unset or empty: compose refuses to start
    assert "${" in compose["services"]["database"]["environment"]["POSTGRES_PASSWORD"]


SERVERS = {"server", "server-gpu", "server-milvus", "server-tls"}
OTHERS = {"certificates", "copy", "database", "milvus", "prometheus", "grafana"}


@pytest.mark.parametrize("name", sorted(SERVERS | OTHERS))
def test_services_are_fenced_in(compose: dict[str, Any], name: str) -> None:
    """What the hardening section of docs/security.md says of them."""
    service = compose["services"][name]
    assert service.get("read_only", False) is (name != "milvus")
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert service["pids_limit"] <= 1000
    assert not {"privileged", "pid", "ipc", "devices", "userns_mode"} & set(service)
    assert service["logging"] == {"driver": "json-file", "options": {"max-size": "50m", "max-file": "5"}}
    assert service.get("network_mode") == ("none" if name == "certificates" else None)
    assert service["volumes"]
    assert not [volume for volume in service["volumes"] if "docker.sock" in volume]


def test_every_service_is_looked_at(compose: dict[str, Any]) -> None:
    assert set(compose["services"]) == SERVERS | OTHERS
    adding = {name: service["cap_add"] for name, service in compose["services"].items() if "cap_add" in service}
    assert set(adding) == {"database"}
    assert set(adding["database"]) == {"CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID"}


def test_only_the_server_is_reachable_and_only_from_this_machine(compose: dict[str, Any]) -> None:
    assert "ports" not in compose["services"]["database"]
    assert compose["networks"]["data"]["internal"] is True
    assert compose["services"]["database"]["networks"] == ["data"]
    reaching_out = {name for name, each in compose["services"].items() if "outside" in each.get("networks", ())}
    assert reaching_out == {*SERVERS, "grafana"}
    assert compose["services"]["copy"]["ports"] == []
    published = [port for name in sorted(SERVERS) for port in compose["services"][name]["ports"]]
    assert len(published) == len(SERVERS)
    default = "${AIPFACE_BIND:-127.0.0.1}"
    assert {port.removesuffix(":443") for port in published if not port.startswith(f"{default}:")} == {
        f"${{AIPFACE_TLS_BIND:-{default}}}:${{AIPFACE_PUBLISHED_TLS_PORT:-443}}"  # opened without the others
    }


def test_the_server_waits_for_a_healthy_database(compose: dict[str, Any]) -> None:
    assert compose["services"]["server"]["depends_on"]["database"]["condition"] == "service_healthy"
    assert "pg_isready" in " ".join(compose["services"]["database"]["healthcheck"]["test"])


def test_named_things_are_declared(compose: dict[str, Any]) -> None:
    used = {volume.split(":")[0] for service in compose["services"].values() for volume in service["volumes"]}
    files = {name for name in used if name.startswith(".")}
    assert all((ROOT / name).exists() for name in files)
    assert used - files == set(compose["volumes"])
    networks = {network for service in compose["services"].values() for network in service.get("networks", ())}
    assert networks == set(compose["networks"])


def test_the_image_runs_as_nobody_special(dockerfile: Parsed) -> None:
    (user,) = [arguments for word, arguments in final_stage(dockerfile) if word == "USER"]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    assert ("ENTRYPOINT", '["aipface"]') in dockerfile


def test_the_image_brings_no_compiler(dockerfile: Parsed) -> None:
    assert all("apt-get" not in arguments for word, arguments in final_stage(dockerfile) if word == "RUN")


def test_the_image_knows_whether_it_is_ready(dockerfile: Parsed) -> None:
    (check,) = [arguments for word, arguments in dockerfile if word == "HEALTHCHECK"]
    assert "healthcheck.py" in check
    assert "/readyz" in (ROOT / "deploy" / "healthcheck.py").read_text(encoding="utf-8")


def test_everything_copied_is_there_and_let_through(dockerfile: Parsed) -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert ignored[1] == "*"
    for word, arguments in dockerfile:
        if word == "COPY" and not arguments.startswith("--from"):
            for name in arguments.split()[:-1]:
                assert (ROOT / name).exists()
                assert f"!{name}" in ignored


def test_secrets_are_made_once_and_for_the_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    command = [str(ROOT / "deploy" / "init-secrets"), str(file)]
    subprocess.run(command, check=True, capture_output=True)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    content = file.read_text(encoding="utf-8")
    assert re.fullmatch(
        r"AIPFACE_DB_PASSWORD=[0-9a-f]{48}\nAIPFACE_SECRET_KEY=[0-9a-f]{64}\nCOMPOSE_PROFILES=cpu\n", content
    )

    again = subprocess.run(command, check=False, capture_output=True, text=True)
    assert again.returncode == 1
    assert "left as it is" in again.stderr
    assert "delete" not in again.stderr
    assert file.read_text(encoding="utf-8") == content
    assert list(tmp_path.iterdir()) == [file]


def test_secrets_are_random(tmp_path: Path) -> None:
    made = []
    for name in ("a", "b"):
        subprocess.run([str(ROOT / "deploy" / "init-secrets"), str(tmp_path / name)], check=True, capture_output=True)
        made.append((tmp_path / name).read_text(encoding="utf-8"))
    assert made[0] != made[1]
