"""``aipface import`` beside a running server: what it enrols is found at once through the API."""

from __future__ import annotations

import csv
import json
import shutil
import zipfile
from pathlib import Path

import cv2
import pytest
from aip import AipFace

from service.cli.bulk_import import SOME_REFUSED
from service.cli.failures import FAILED, MISUSED
from tests.fixtures.official import official_client
from tests.fixtures.pictures import Pictures
from tests.fixtures.server import LiveServer

GROUP = "imported"


@pytest.fixture
def client(server: LiveServer) -> AipFace:
    return official_client(server.base_url, server.credentials)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def test_a_folder_is_imported_beside_a_running_server(
    server: LiveServer, client: AipFace, pictures: Pictures, tmp_path: Path
) -> None:
    folder, out = tmp_path / "people", tmp_path / "out"
    for name, picture in {"Barack Obama": "obama.jpg", "joe": "biden.jpg", "joseph": "biden.jpg"}.items():
        (folder / name).mkdir(parents=True)
        shutil.copy(pictures.path(picture), folder / name / picture)
    (folder / "joe" / "none.jpg").write_bytes(b"no picture")
    command = ["import", str(folder), "--app", server.credentials.app_id, "--group", GROUP, "--output", str(out)]
    done = server.home.run(*command, "--make-ids", "--json")
    assert done.returncode == SOME_REFUSED, done.stderr
    summary = json.loads(done.stdout)
    assert (summary["enrolled"], summary["refused"], summary["same_person_two_ids"]) == (3, 1, 1)
    assert "4 of 4 pictures" in done.stderr
    told = {row["picture"]: row for row in rows(out / "report.csv")}
    assert told["joe/none.jpg"]["reason"] == "picture_unreadable"
    assert int(told["joe/biden.jpg"]["face_width"]) > 100
    assert float(told["joe/biden.jpg"]["illumination"]) > 50
    (double,) = rows(out / "doubles.csv")
    assert {double["user_id_1"], double["user_id_2"]} == {"joe", "joseph"}
    assert {path.name: path.stat().st_mode & 0o777 for path in out.iterdir()} == dict.fromkeys(
        ("report.csv", "doubles.csv", "doubles.png"), 0o600
    )
    drawn = cv2.imread(str(out / "doubles.png"))
    assert drawn is not None
    assert drawn.std() > 10

    found = client.search(pictures.base64("obama2.jpg"), "BASE64", GROUP)["result"]["user_list"][0]
    assert (found["user_id"], found["user_info"]) == (told["Barack Obama/obama.jpg"]["user_id"], "Barack Obama")
    same = client.search(pictures.base64("obama.jpg"), "BASE64", GROUP)["result"]["user_list"][0]
    assert same["score"] == 100

    assert client.deleteUser(GROUP, "joseph")["error_code"] == 0
    (folder / "joe" / "none.jpg").unlink()
    again = server.home.run(*command, "--make-ids", "--json")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["present"] == 2
    assert json.loads(again.stdout)["enrolled"] == 1


def test_an_archive_and_what_cannot_be_read(server: LiveServer, pictures: Pictures, tmp_path: Path) -> None:
    path = tmp_path / "people.zip"
    with zipfile.ZipFile(path, "w") as made:
        made.write(pictures.path("astronaut.png"), "zipped/ada/1.png")
        made.writestr("../../etc/x.jpg", b"-")
    app = ["--app", server.credentials.app_id, "--output", str(tmp_path / "out")]
    done = server.home.run("import", str(path), *app)
    assert done.returncode == SOME_REFUSED
    assert "1 enrolled, 0 present, 1 refused" in done.stdout
    for arguments, status, words in (
        ([str(tmp_path / "absent"), *app], MISUSED, "there is nothing at"),
        ([str(tmp_path), *app, "--pictures", str(tmp_path / "absent")], MISUSED, "there is no folder"),
        ([__file__, *app], MISUSED, "neither a folder"),
        ([str(tmp_path), "--app", "1", "--output", str(tmp_path / "out")], FAILED, "there is no app 1"),
    ):
        done = server.home.run("import", *arguments)
        assert done.returncode == status
        assert words in done.stderr
        assert "Traceback" not in done.stderr


def test_an_export_answers_like_the_original(server: LiveServer, pictures: Pictures, tmp_path: Path) -> None:
    apps = [server.home.create_app(name) for name in ("origin", "copy")]
    origin, copy = (official_client(server.base_url, keys) for keys in apps)
    for user, picture in {"barack": "obama.jpg", "joe": "biden.jpg", "ada": "astronaut.png"}.items():
        assert origin.addUser(pictures.base64(picture), "BASE64", "moved", user, {"user_info": user})["error_code"] == 0
    path = tmp_path / "library.zip"
    done = server.home.run("export", str(path), "--app", apps[0].app_id, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["faces"] == 3
    done = server.home.run("import", str(path), "--app", apps[1].app_id, "--output", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr

    options = {"max_user_num": 3, "match_threshold": 0}
    for picture in ("obama2.jpg", "biden.jpg", "sample1.jpg"):
        answers = [
            client.search(pictures.base64(picture), "BASE64", "moved", options)["result"]["user_list"]
            for client in (origin, copy)
        ]
        for before, after in zip(*answers, strict=True):
            # 100 says "the same picture", which an app can tell of pictures that were sent to it.
            assert after == before | {"score": after["score"]}
            assert after["score"] == pytest.approx(before["score"], abs=0.02)
    assert (
        copy.faceGetlist("joe", "moved")["result"]["face_list"][0]["face_token"]
        == (origin.faceGetlist("joe", "moved")["result"]["face_list"][0]["face_token"])
    )


def test_a_library_is_copied_through_the_api(server: LiveServer, pictures: Pictures, tmp_path: Path) -> None:
    there, here = (server.home.create_app(name) for name in ("there", "here"))
    source = official_client(server.base_url, there)
    source.groupAdd("empty")
    for user in ("ada", "grace"):
        added = source.addUser(pictures.base64("astronaut.png"), "BASE64", "crew", user, {"user_info": f"{user} 女士"})
        assert added["error_code"] == 0
    table = tmp_path / "need.csv"
    home = server.home
    command = ["copy", "--from", server.base_url, "--app", here.app_id, "--output", str(table)]
    refused = home.run(*command, "--api-key", there.api_key, "--secret-key", there.secret_key)
    assert refused.returncode == MISUSED
    assert there.secret_key not in refused.stdout + refused.stderr

    keys = {"SOURCE_API_KEY": there.api_key, "SOURCE_SECRET_KEY": there.secret_key}
    done = home.run(*command, variables=keys)
    assert done.returncode == 0, done.stderr
    copied = official_client(server.base_url, here)
    assert copied.getGroupList()["result"]["group_id_list"] == ["empty", "crew"]
    assert copied.getGroupUsers("crew")["result"]["user_id_list"] == ["ada", "grace"]
    assert copied.getUser("ada", "crew")["result"]["user_list"][0]["user_info"] == "ada 女士"
    assert table.stat().st_mode & 0o777 == 0o600
    needed = rows(table)
    assert [(row["user_id"], row["picture"], row["faces_there"]) for row in needed] == [
        ("ada", "", "1"),
        ("grace", "", "1"),
    ]
    wrong = home.run(*command, variables=keys | {"SOURCE_SECRET_KEY": "x" * 32})
    assert wrong.returncode == FAILED
    assert "the keys are refused" in wrong.stderr

    shutil.copy(pictures.path("astronaut.png"), tmp_path / "1.png")
    table.write_text(table.read_text(encoding="utf-8-sig").replace("ada,,", "ada,1.png,"), encoding="utf-8")
    done = home.run("import", str(table), "--app", here.app_id, "--output", str(tmp_path / "out"))
    assert "1 enrolled, 0 present, 1 refused" in done.stdout


def test_nameless_pictures_are_sorted_for_review_and_then_imported(
    server: LiveServer, client: AipFace, pictures: Pictures, tmp_path: Path
) -> None:
    folder, out, group = tmp_path / "nameless", tmp_path / "out", "sorted"
    folder.mkdir()
    for number, name in enumerate(("obama.jpg", "biden.jpg", "obama2.jpg"), start=1):
        shutil.copy(pictures.path(name), folder / f"IMG {number}.jpg")
    (folder / "IMG 4.jpg").write_bytes(b"no picture")
    command = ["import", str(folder), "--app", server.credentials.app_id, "--cluster", "--group", group]
    done = server.home.run(*command, "--output", str(out), "--json", timeout=300)
    assert done.returncode == SOME_REFUSED, done.stderr
    summary = json.loads(done.stdout)
    assert (summary["pictures"], summary["people"], summary["people_of_several"], summary["refused"]) == (3, 2, 1, 1)
    people = {row["picture"]: row for row in rows(out / "people.csv")}
    assert people["IMG 1.jpg"]["user_id"] == people["IMG 3.jpg"]["user_id"] == "person_00001"
    assert people["IMG 2.jpg"]["user_id"] == "person_00002"
    assert float(people["IMG 1.jpg"]["confidence"]) > 80
    assert people["IMG 2.jpg"]["confidence"] == ""
    drawn = cv2.imread(str(out / "people-01.png"))
    assert drawn is not None
    assert drawn.std() > 10
    assert client.getGroupUsers(group)["error_code"] != 0  # nobody was enrolled

    reviewed = ["import", str(out / "people.csv"), "--pictures", str(folder), "--app", server.credentials.app_id]
    done = server.home.run(*reviewed, "--output", str(tmp_path / "imported"), "--no-doubles", timeout=300)
    assert done.returncode == 0, done.stderr
    found = client.search(pictures.base64("obama2.jpg"), "BASE64", group)["result"]["user_list"][0]
    assert (found["user_id"], found["score"]) == ("person_00001", 100)
