"""A server that chooses what computes its networks: measured at the first start, told everywhere, kept afterwards."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from service.inference.providers import LOWER, lower_precisions, openvino_installed
from service.inference.runtimes import FILE
from tests.fixtures.pictures import Pictures
from tests.fixtures.python_sdk import official_client
from tests.fixtures.server import Home, LiveServer, Server

pytestmark = pytest.mark.skipif(not openvino_installed(), reason="there is nothing to choose from")

SAME, OTHER = ("obama.jpg", "obama2.jpg"), ("obama.jpg", "biden.jpg")
CLOSE = 1.5
"""Points of the score between runtimes and precisions that share a gallery."""


def weights_check(server: Server) -> str:
    """What ``/readyz`` says of the networks."""
    checks = httpx.get(f"{server.base_url}/readyz", timeout=60, trust_env=False).json()["checks"]
    (told,) = [check["detail"] for check in checks if check["name"] == "weights"]
    assert isinstance(told, str)
    return told


def measured(home: Home) -> dict[str, dict[str, Any]]:
    """Evidence by network, as the server keeps it."""
    entries = json.loads((home.folder / FILE).read_text(encoding="utf-8"))["networks"].values()
    return {entry["network"]: entry for entry in entries}


def scores(server: LiveServer, pictures: Pictures, pairs: Sequence[Sequence[str]]) -> list[float]:
    """What the official client is answered for each pair of pictures, all asked for at once."""
    bodies = [[{"image": pictures.base64(name), "image_type": "BASE64"} for name in names] for names in pairs]
    with (
        pytest.MonkeyPatch.context() as patched,
        official_client(server, patched) as client,
        ThreadPoolExecutor(len(pairs)) as pool,
    ):
        answers = list(pool.map(client.match, bodies))
    assert [answer["error_code"] for answer in answers] == [0] * len(pairs), answers
    return [answer["result"]["score"] for answer in answers]


def test_the_fastest_is_measured_once_and_told(home: Home, pictures: Pictures) -> None:
    keys = home.create_app("chooser")
    with home.serving(DEVICE="auto") as server:
        assert "runtime chosen" in server.output()
        evidence = measured(home)
        chosen = {evidence["sface"]["runtime"], evidence["fr_feature"]["runtime"]}
        told = weights_check(server)
        assert all(name in told for name in chosen)
        # More at once than there are processors, so that there are copies of what computes for one at a time.
        same, other = scores(LiveServer(server.base_url, keys, home), pictures, [SAME, OTHER] * 4)[:2]
        assert other < 80 <= same
        doctor = home.run("doctor", variables={"AIPFACE_DEVICE": "auto"})
        assert "measured: " in doctor.stdout
    with home.serving(DEVICE="auto") as server:
        assert "runtime chosen" not in server.output()
        assert measured(home) == evidence
    with home.serving(DEVICE="cpu") as server:
        assert weights_check(server).endswith("CPUExecutionProvider")
        plain = scores(LiveServer(server.base_url, keys, home), pictures, [SAME, OTHER])
    assert [same, other] == pytest.approx(plain, abs=CLOSE)


@pytest.mark.parametrize("precision", LOWER)
def test_a_precision_that_is_asked_for_is_the_one_or_an_error(home: Home, pictures: Pictures, precision: str) -> None:
    keys = home.create_app("chooser")
    if precision not in lower_precisions():
        done = home.run("serve", variables={"AIPFACE_DEVICE": "auto", "AIPFACE_PRECISION": precision})
        assert done.returncode == 1
        assert f"precision {precision} needs" in done.stderr
        return
    with home.serving(DEVICE="auto", PRECISION=precision) as server:
        assert {measured(home)[name]["runtime"] for name in ("sface", "fr_feature")} == {LOWER[precision]}
        assert LOWER[precision] in weights_check(server)
        same, other = scores(LiveServer(server.base_url, keys, home), pictures, [SAME, OTHER])
        assert other < 80 <= same
