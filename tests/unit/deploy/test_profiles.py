"""Every profile of docker-compose.yml starts something whole, which can be reached and says whether it works."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml

from service.settings import Settings
from tests.fixtures.places import ROOT

Services = dict[str, dict[str, Any]]

SERVERS = {"cpu": "server", "gpu": "server-gpu", "milvus": "server-milvus", "tls": "server-tls"}
INSTEAD = ("cpu", "gpu", "milvus")
"""Profiles of which one runs at a time: they publish the same port."""

HARDENING = ("tmpfs", "read_only", "cap_drop", "security_opt", "pids_limit", "stop_grace_period", "restart")


@pytest.fixture(scope="module")
def services() -> Services:
    content: Services = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
    return content


def started(services: Services, *profiles: str) -> Services:
    """What runs when these profiles are named."""
    return {
        name: service
        for name, service in services.items()
        if not service.get("profiles") or set(service["profiles"]) & set(profiles)
    }


def published(service: dict[str, Any]) -> list[str]:
    """Ports of the host in the default configuration."""
    return [re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", port) for port in service.get("ports", ())]


@pytest.mark.parametrize("profile", ["cpu", "gpu", "milvus", "tls"])
def test_a_profile_alone_is_a_whole_service(services: Services, profile: str) -> None:
    running = started(services, profile)
    assert "database" in running
    assert SERVERS[profile] in running
    for service in running.values():
        assert set(service.get("depends_on", ())) <= set(running)


def test_named_together_they_do_not_collide(services: Services) -> None:
    for one in INSTEAD:
        running = started(services, one, "tls", "monitoring")
        ports = [port.rpartition(":")[0] for service in running.values() for port in published(service)]
        assert len(ports) == len(set(ports)) == 3


def test_every_port_is_bound_to_this_machine(services: Services) -> None:
    ports = [port for service in services.values() for port in published(service)]
    assert len(ports) == 5
    assert all(port.startswith("127.0.0.1:") for port in ports)


@pytest.mark.parametrize("name", SERVERS.values())
def test_servers_differ_in_nothing_but_their_purpose(services: Services, name: str) -> None:
    server, reference = services[name], services["server"]
    assert {key: server.get(key) for key in HARDENING} == {key: reference.get(key) for key in HARDENING}
    assert server["volumes"] == reference["volumes"]
    assert server["depends_on"]["database"] == {"condition": "service_healthy"}
    environment = server["environment"]
    assert environment.keys() >= reference["environment"].keys()
    known = {f"AIPFACE_{setting.upper()}" for setting in Settings.model_fields}
    assert {variable for variable in environment if variable.startswith("AIPFACE_")} <= known
    assert server["networks"]["outside"]["aliases"] == ["aip.baidubce.com"]


def test_variants_do_what_they_are_called(services: Services) -> None:
    gpu, milvus, tls = (services[SERVERS[profile]] for profile in ("gpu", "milvus", "tls"))
    assert gpu["environment"]["AIPFACE_DEVICE"] == gpu["build"]["args"]["DEVICE"] == "cuda"
    (device,) = gpu["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])
    assert milvus["environment"]["AIPFACE_SEARCH_BACKEND"] == "milvus"
    assert (ROOT / milvus["build"]["args"]["LOCK"]).is_file()
    assert milvus["depends_on"]["milvus"] == {"condition": "service_healthy"}
    assert tls["environment"]["AIPFACE_TLS"] == "true"
    assert published(tls)[0].endswith(":443:" + tls["environment"]["AIPFACE_PORT"])
    assert tls["depends_on"]["certificates"] == {"condition": "service_completed_successfully"}
    images = {service["image"] for service in (gpu, milvus, tls)}
    assert len(images) == 3  # what is built differently is named differently


def test_arguments_of_the_build_are_those_of_the_dockerfile(services: Services) -> None:
    known = set(re.findall(r"^ARG (\w+)", (ROOT / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE))
    builds = [service["build"] for service in services.values() if isinstance(service.get("build"), dict)]
    assert {name for build in builds for name in build.get("args", ())} == known


def test_what_answers_is_watched(services: Services) -> None:
    """Servers by the image's own health check, the others by theirs; the certificates are made and done."""
    others = set(services) - set(SERVERS.values()) - {"certificates"}
    assert {name for name in others if services[name]["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}} == others
    assert services["certificates"]["restart"] == "no"
    assert services["certificates"]["network_mode"] == "none"


def test_images_name_a_release(services: Services) -> None:
    theirs = [service["image"] for service in services.values() if "build" not in service]
    assert all(re.search(r":v?\d", image) for image in theirs)


def test_monitoring_finds_the_servers_and_the_dashboard(services: Services) -> None:
    scraped = yaml.safe_load((ROOT / "deploy" / "prometheus.yml").read_text(encoding="utf-8"))
    (job,) = scraped["scrape_configs"]
    assert job["static_configs"] == [{"targets": ["server:8000"]}]
    for name in ("server-gpu", "server-milvus"):
        assert services[name]["networks"]["data"]["aliases"] == ["server"]
    grafana = services["grafana"]
    mounts = dict(volume.split(":")[:2] for volume in grafana["volumes"])
    dashboard = ROOT / "deploy" / "grafana" / "aipface.json"
    assert (
        mounts["./deploy/grafana/aipface.json"] == grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    )
    provisioning = ROOT / "deploy" / "grafana" / "provisioning"
    sources = yaml.safe_load((provisioning / "datasources" / "prometheus.yml").read_text(encoding="utf-8"))[
        "datasources"
    ]
    (provider,) = yaml.safe_load((provisioning / "dashboards" / "aipface.yml").read_text(encoding="utf-8"))["providers"]
    assert sources[0]["url"] == "http://prometheus:9090"
    assert mounts["./deploy/grafana/aipface.json"].startswith(provider["options"]["path"] + "/")
    panels = json.loads(dashboard.read_text(encoding="utf-8"))["panels"]
    asked = {panel["datasource"]["uid"] for panel in panels if isinstance(panel.get("datasource"), dict)}
    assert asked <= {sources[0]["uid"], "${source}"}  # the latter: whichever the reader chooses, at first the default
    assert sources[0]["isDefault"] is True
