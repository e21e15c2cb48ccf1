"""The server with its faces in Milvus (milvus-lite): found at once, after a restart, and gone when deleted."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
from pymilvus import MilvusClient

from tests.e2e.test_lifecycle import call
from tests.fixtures.milvus import own_milvus
from tests.fixtures.pictures import Pictures
from tests.fixtures.server import WAIT_SECONDS, Home, Server
from tests.fixtures.waiting import wait_for


def test_enrol_find_restart_delete(home: Home, pictures: Pictures) -> None:
    settings = {"SEARCH_BACKEND": "milvus", "MILVUS_URI": str(home.folder / "milvus.db"), "MILVUS_INDEX": "FLAT"}
    keys = home.create_app("milvus")
    probe = {"image": pictures.base64("obama2.jpg"), "image_type": "BASE64", "group_id_list": "people"}
    with home.serving(**settings) as server:
        for user in ("obama", "biden"):
            face = {"image": pictures.base64(f"{user}.jpg"), "image_type": "BASE64"}
            added = call(server, keys, "faceset/user/add", {**face, "group_id": "people", "user_id": user})
            assert added["error_code"] == 0
        _finds(call(server, keys, "search", probe), "obama")
    with home.serving(**settings) as server:
        _finds(call(server, keys, "search", {**probe, "user_id": "obama"}), "obama")
        gone = call(server, keys, "faceset/user/delete", {"group_id": "people", "user_id": "obama"})
        assert gone["error_code"] == 0
        assert call(server, keys, "search", probe)["error_code"] == 222207
    client = MilvusClient(settings["MILVUS_URI"])
    names = client.list_collections()  # with the number of the cluster and that of the database
    assert len(names) == 2
    assert all(re.match("aipface_[0-9a-f]{12,16}_[0-9]+_", name) for name in names)
    client.close()


def _finds(answer: dict[str, object], user_id: str) -> None:
    assert isinstance(result := answer["result"], dict), answer
    assert [user["user_id"] for user in result["user_list"]] == [user_id]


def test_readiness_tells_of_a_milvus_that_is_away_and_comes_back(home: Home, tmp_path: Path) -> None:
    settings = {"SEARCH_BACKEND": "milvus", "MILVUS_INDEX": "FLAT"}
    with own_milvus(tmp_path) as milvus, home.serving(MILVUS_URI=milvus.uri, **settings) as server:
        milvus.end()
        away = _readiness(server)
        checks = {check["name"]: check for check in away.json()["checks"]}
        assert (away.status_code, set(checks)) == (503, {"weights", "database", "index", "model"})
        assert checks["index"] == {"name": "index", "ok": False, "detail": "the vector database does not answer"}
        milvus.begin()
        wait_for(lambda: _readiness(server).status_code == 200)


def test_a_write_without_milvus_is_not_acknowledged_and_is_found_when_it_is_back(
    home: Home, tmp_path: Path, pictures: Pictures
) -> None:
    settings = {"SEARCH_BACKEND": "milvus", "MILVUS_INDEX": "FLAT"}
    keys = home.create_app("milvus")
    face = {"image": pictures.base64("obama.jpg"), "image_type": "BASE64", "group_id": "people", "user_id": "obama"}
    probe = {"image": pictures.base64("obama2.jpg"), "image_type": "BASE64", "group_id_list": "people"}
    with own_milvus(tmp_path) as milvus, home.serving(MILVUS_URI=milvus.uri, **settings) as server:
        milvus.end()
        assert call(server, keys, "faceset/user/add", face)["error_code"] == 2
        assert call(server, keys, "search", probe)["error_code"] == 2
        milvus.begin()
        wait_for(lambda: call(server, keys, "search", probe)["error_code"] == 0)
        _finds(call(server, keys, "search", probe), "obama")
        milvus.end()
        gone = {"group_id": "people", "user_id": "obama"}
        assert call(server, keys, "faceset/user/delete", gone)["error_code"] == 2
        milvus.begin()
        wait_for(lambda: call(server, keys, "search", probe)["error_code"] == 222207)


def _readiness(server: Server) -> httpx.Response:
    return httpx.get(f"{server.base_url}/readyz", timeout=WAIT_SECONDS, trust_env=False)
