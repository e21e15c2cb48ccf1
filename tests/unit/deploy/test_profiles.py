"""Every profile of docker-compose.yml starts something whole, which can be reached and says whether it works."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from typing import Any

import pytest
import yaml

from service.search.keeper import CLOSING_SECONDS
from service.settings import Settings, load_settings
from tests.fixtures.documents import read
from tests.fixtures.places import ROOT

Services = dict[str, dict[str, Any]]

SERVERS = {"cpu": "server", "gpu": "server-gpu", "milvus": "server-milvus", "tls": "server-tls"}
INSTEAD = ("cpu", "gpu", "milvus")
"""Profiles of which one runs at a time: they publish the same port."""

HARDENING = ("tmpfs", "read_only", "cap_drop", "security_opt", "pids_limit", "stop_grace_period", "restart")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    return content


@pytest.fixture(scope="module")
def services(compose: dict[str, Any]) -> Services:
    found: Services = compose["services"]
    return found


def started(services: Services, *profiles: str) -> Services:
    """What runs when these profiles are named."""
    return {
        name: service
        for name, service in services.items()
        if not service.get("profiles") or set(service["profiles"]) & set(profiles)
    }


def published(service: dict[str, Any]) -> list[str]:
    """Ports of the host in the default configuration."""
    ports = list(service.get("ports", ()))
    while any("${" in port for port in ports):  # a default may have one of its own
        ports = [re.sub(r"\$\{\w+:-([^${}]*)\}", r"\1", port) for port in ports]
    return ports


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
    assert set(server["networks"]) == {"outside", "data"}


def aliases(service: dict[str, Any]) -> dict[str, list[str]]:
    """Further names of a service, by the network that knows them."""
    networks = service.get("networks", ())
    named = networks.items() if isinstance(networks, dict) else ()
    return {network: wish["aliases"] for network, wish in named if wish}


def test_the_clouds_name_leads_to_who_answers_tls_on_its_port_alone(services: Services) -> None:
    """An SDK takes any address of the name, on port 443."""
    named = {name for name, service in services.items() if "aip.baidubce.com" in str(aliases(service))}
    assert named == {"server-tls"}
    assert aliases(services["server-tls"]) == {"outside": ["aip.baidubce.com"]}
    environment = services["server-tls"]["environment"]
    assert (environment["AIPFACE_TLS"], environment["AIPFACE_PORT"]) == ("true", "443")


def test_the_cloud_can_be_copied_from_while_its_name_leads_here(compose: dict[str, Any], services: Services) -> None:
    """Where `copy` runs nobody has the cloud's name; there is a way out, and one to the database."""
    copying = services["copy"]
    assert copying["entrypoint"] == ["aipface", "copy"]
    known = [aliases(service).get(network, []) for service in services.values() for network in copying["networks"]]
    assert not [names for names in known if "aip.baidubce.com" in names]
    assert set(copying["networks"]) & set(services["database"]["networks"])
    assert [name for name in copying["networks"] if not (compose["networks"][name] or {}).get("internal")]
    handed_on = {name for name, value in copying["environment"].items() if value is None}
    assert handed_on == {"SOURCE_API_KEY", "SOURCE_SECRET_KEY"}


def test_a_milvus_elsewhere_can_be_named(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unset, it is the one beside; an empty token, as the file hands it on then, is none."""
    environment = services["server"]["environment"]
    assert environment["AIPFACE_MILVUS_URI"] == "${AIPFACE_MILVUS_URI:-http://milvus:19530}"
    assert environment["AIPFACE_MILVUS_TOKEN"] == "${AIPFACE_MILVUS_TOKEN:-}"
    monkeypatch.setenv("AIPFACE_MILVUS_TOKEN", "")
    assert load_settings().milvus_token is None


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


def test_what_is_named_alike_is_built_alike(services: Services) -> None:
    """Else the last build of an image decides what all its services run."""
    builds: dict[str, list[Any]] = defaultdict(list)
    for service in services.values():
        if "build" in service:
            builds[service["image"]].append(service["build"])
    assert len(builds["aipface-server"]) > 2
    assert {image for image, alike in builds.items() if any(build != alike[0] for build in alike)} == set()


def overrides() -> list[dict[str, Any]]:
    """The examples of a file of the operator's own."""
    blocks = [block.text for block in read(ROOT / "docs" / "containers.md").blocks if block.language == "yaml"]
    return [content for content in map(yaml.safe_load, blocks) if "x-settings" in content]


@pytest.mark.parametrize("example", overrides())
def test_what_the_page_overrides_is_there(services: Services, example: dict[str, Any]) -> None:
    """Every service of an example exists and gets the settings, which exist too."""
    assert set(example["services"]) <= {*SERVERS.values(), "copy"} <= set(services)
    assert "server-tls" in example["services"]
    assert all(each == example["x-settings"] for each in example["services"].values())
    known = {f"AIPFACE_{name.upper()}" for name in Settings.model_fields}
    assert set(example["x-settings"]["environment"]) <= known


def test_what_stops_gets_the_time_it_takes(services: Services) -> None:
    """Also in the example that delays the stop."""
    lasting = [each["x-settings"] for each in overrides() if "stop_grace_period" in each["x-settings"]]
    assert lasting
    for each in (services["server"], *lasting):
        settings = {**services["server"]["environment"], **each["environment"]}
        delay = float(settings.get("AIPFACE_SHUTDOWN_DELAY", Settings.model_fields["shutdown_delay"].default))
        patience = float(each["stop_grace_period"].removesuffix("s"))
        assert patience > delay + Settings.model_fields["shutdown_grace"].default + CLOSING_SECONDS


def test_what_answers_is_watched(services: Services) -> None:
    """Servers by the image's own health check, the others by theirs; what ends by itself is not."""
    others = set(services) - set(SERVERS.values()) - {"certificates", "copy"}
    assert {name for name in others if services[name]["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}} == others
    assert services["certificates"]["restart"] == services["copy"]["restart"] == "no"
    assert services["certificates"]["network_mode"] == "none"
    assert services["copy"]["healthcheck"] == {"disable": True}


def test_images_name_a_release(services: Services) -> None:
    theirs = [service["image"] for service in services.values() if "build" not in service]
    assert all(re.search(r":v?\d", image) for image in theirs)


def test_monitoring_finds_the_servers_and_the_dashboard(services: Services) -> None:
    scraped = yaml.safe_load((ROOT / "deploy" / "prometheus.yml").read_text(encoding="utf-8"))
    plain, secure = scraped["scrape_configs"]
    assert "scheme" not in plain
    assert plain["static_configs"] == [{"targets": ["server:8000"]}]
    assert services["server"]["environment"]["AIPFACE_PORT"] == "${AIPFACE_PORT:-8000}"
    answering = {name for name in SERVERS.values() if "server" in (name, *aliases(services[name]).get("data", ()))}
    assert answering == {SERVERS[profile] for profile in INSTEAD}
    assert (secure["scheme"], secure["tls_config"]) == ("https", {"insecure_skip_verify": True})
    assert secure["static_configs"] == [
        {"targets": [f"server-tls:{services['server-tls']['environment']['AIPFACE_PORT']}"]}
    ]
    assert services["prometheus"]["networks"] == ["data"]
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
