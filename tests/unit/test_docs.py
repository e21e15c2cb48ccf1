"""Documentation that fails when it is not true any more."""

from __future__ import annotations

import json
import re
from typing import Any, cast

import pytest

from service.api.application import build_api
from service.api.metrics import markdown
from service.api.ports import UseCases
from service.api.v1.codes import VIDEO_CODES
from service.api.v3.codes import CODES
from service.cli.show_settings import settings_table
from service.settings import Settings
from tests.fixtures.places import ROOT
from tests.seeds import data, table


def test_every_setting_is_documented() -> None:
    """Mend it with: aipface settings --markdown."""
    text = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    table = "\n".join(line for line in text.splitlines() if line.startswith("|"))
    assert table == settings_table()


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_says_what_it_means(name: str) -> None:
    description = Settings.model_fields[name].description
    assert description is not None
    assert description.endswith(".")


def test_every_code_is_documented() -> None:
    """Mend it with: python -c "from service.api.v3.codes import CODES; print(CODES.markdown())"."""
    text = (ROOT / "docs" / "codes.md").read_text(encoding="utf-8")
    assert "\n".join(line for line in text.splitlines() if line.startswith("|")) == CODES.markdown()


def test_every_code_of_videos_is_documented() -> None:
    """Mend it with: python -c "from service.api.v1.codes import VIDEO_CODES; print(VIDEO_CODES.markdown())"."""
    text = (ROOT / "docs" / "video-liveness.md").read_text(encoding="utf-8")
    assert VIDEO_CODES.markdown() in text


def test_every_metric_is_documented() -> None:
    """Mend it with: python -c "from service.api.metrics import markdown; print(markdown())"."""
    assert f"\n\n{markdown()}\n\n" in (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")


def test_the_dashboard_asks_for_metrics_that_there_are() -> None:
    known = set(re.findall(r"^\| `(\w+)`", markdown(), re.MULTILINE))
    known |= {f"{name}{suffix}" for name in known for suffix in ("_bucket", "_count", "_sum")}
    dashboard = (ROOT / "deploy" / "grafana" / "aipface.json").read_text(encoding="utf-8")
    asked = {name for panel in json.loads(dashboard)["panels"] for name in metric_names(panel)}
    assert asked
    assert asked <= known


def metric_names(panel: dict[str, Any]) -> set[str]:
    """Our metrics in the queries of a dashboard's panel."""
    return {name for target in panel.get("targets", ()) for name in re.findall(r"aipface_\w+", target["expr"])}


def documented_paths(text: str) -> set[str]:
    """Paths in code spans of the README's table rows."""
    rows = [line for line in text.splitlines() if line.startswith("|")]
    return {path for row in rows for path in re.findall(r"`(/[\w./-]+)`", row)}


def served_paths() -> set[str]:
    """Paths of all calls; no request is made, so nothing stands behind them."""
    return set(build_api(cast(UseCases, None)).openapi()["paths"])


def test_the_table_of_the_api_lists_every_route_and_nothing_else() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert documented_paths(readme) == served_paths()


def test_there_are_routes_to_compare() -> None:
    assert "/rest/2.0/face/v3/detect" in served_paths()
    assert len(served_paths()) >= 18


def test_the_table_of_calls_and_clients_is_current() -> None:
    """Mend it with: python -m tests.seeds.table > docs/calls.md."""
    assert (ROOT / "docs" / "calls.md").read_text(encoding="utf-8") == table.markdown()


def test_every_route_of_a_client_stands_in_the_table_of_calls() -> None:
    own = {"/envelope/v1/keys", "/healthz", "/metrics", "/readyz", "/oauth/2.0/token"}
    answered = {call.path for call in data.calls() if call.name not in data.missing().calls}
    assert answered == served_paths() - own
