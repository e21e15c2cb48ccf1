"""The server with its faces in Milvus (milvus-lite): found at once, after a restart, and gone when deleted."""

from __future__ import annotations

from tests.e2e.test_lifecycle import call
from tests.fixtures.pictures import Pictures
from tests.fixtures.server import Home


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


def _finds(answer: dict[str, object], user_id: str) -> None:
    assert isinstance(result := answer["result"], dict), answer
    assert [user["user_id"] for user in result["user_list"]] == [user_id]
