"""Folders, archives and tables, hostile ones too: each names its pictures, and none leads outside."""

from __future__ import annotations

import os
import stat
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from service.bulk.archive import ArchiveSource, name_of
from service.bulk.folder import FolderSource, read_below
from service.bulk.outcomes import Outcome, Result, csv_report
from service.bulk.pictures import Layout, Refusal, Source, SourceError
from service.bulk.restore import Export
from service.bulk.table import TableSource
from service.errors import PictureDownloadFailed
from service.library.names import MAX_USER_INFO_BYTES, is_identifier

LIMIT = 1000


def told(source: Source) -> dict[str, tuple[str, str, str | None, bytes | str]]:
    """By place: group, user, info, and the content or the reason of the refusal."""
    found = {}
    for picture in source.pictures():
        content: bytes | str
        try:
            content = picture.read()
        except Refusal as refusal:
            content = refusal.reason
        found[picture.place] = (picture.group_id, picture.user_id, picture.user_info, content)
    assert source.count() == len(found)
    return found


def write(path: Path, content: bytes = b"pixels") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_a_folder_names_groups_and_users(tmp_path: Path) -> None:
    for name in ("g/ada.jpg", "g/bob/1.PNG", "g/bob/deep/2.webp", "g/bob/notes.txt", "g/.hidden.jpg", ".git/x/y.jpg"):
        write(tmp_path / name)
    write(tmp_path / "lonely.jpg")
    found = told(FolderSource(tmp_path, Layout(), LIMIT))
    assert found == {
        "g/ada.jpg": ("g", "ada", None, b"pixels"),
        "g/bob/1.PNG": ("g", "bob", None, b"pixels"),
        "g/bob/deep/2.webp": ("g", "bob", None, b"pixels"),
        "lonely.jpg": ("", "", None, "no_group"),
    }
    whole = told(FolderSource(tmp_path / "g", Layout(group="all"), LIMIT))
    assert {name: entry[:2] for name, entry in whole.items()} == {
        "ada.jpg": ("all", "ada"),
        "bob/1.PNG": ("all", "bob"),
        "bob/deep/2.webp": ("all", "bob"),
    }


def test_a_folder_is_not_left_and_no_pipe_is_waited_for(tmp_path: Path) -> None:
    outside = write(tmp_path / "outside" / "secret.jpg")
    inside = write(tmp_path / "in" / "g" / "ada" / "1.jpg")
    user = inside.parent
    (user / "out.jpg").symlink_to(outside)
    (user / "own.jpg").symlink_to(inside)
    (user / "gone.jpg").symlink_to(tmp_path / "nowhere")
    (user / "loop.jpg").symlink_to(user / "loop.jpg")
    (user.parent / "linked").symlink_to(outside.parent)
    os.mkfifo(user / "pipe.jpg")
    write(user / "large.jpg", bytes(LIMIT + 1))
    found = {name: entry[3] for name, entry in told(FolderSource(tmp_path / "in", Layout(), LIMIT)).items()}
    assert found == {
        "g/ada/1.jpg": b"pixels",
        "g/ada/own.jpg": b"pixels",
        "g/ada/out.jpg": "outside",
        "g/ada/gone.jpg": "unreadable",
        "g/ada/loop.jpg": "unreadable",
        "g/ada/pipe.jpg": "no_file",
        "g/ada/large.jpg": "picture_too_large",
        "g/linked": "linked_folder",
    }


def test_names_that_are_no_ids(tmp_path: Path) -> None:
    write(tmp_path / "g" / "Ada Lovelace" / "1.jpg")
    write(tmp_path / "g" / "张三" / "1.jpg")
    os.makedirs(os.fsencode(tmp_path) + b"/g/caf\xe9")  # noqa: PTH103 (a name that is no UTF-8)
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/g/caf\xe9/1.jpg")).write_bytes(b"pixels")
    refused = told(FolderSource(tmp_path, Layout(), LIMIT))
    assert {entry[3] for entry in refused.values()} == {"bad_user_id"}
    assert "g/caf\\xe9/1.jpg" in refused
    made = told(FolderSource(tmp_path, Layout(make_ids=True), LIMIT))
    assert len({entry[1] for entry in made.values()}) == 3
    assert all(is_identifier(entry[1]) for entry in made.values())
    assert {entry[2] for entry in made.values()} == {None}  # nobody has said it
    names = {picture.default_info for picture in FolderSource(tmp_path, Layout(make_ids=True), LIMIT).pictures()}
    assert names == {"Ada Lovelace", "张三", "caf\\xe9"}
    assert made["g/Ada Lovelace/1.jpg"][1].startswith("Ada_Lovelace_")


def archive(path: Path, build: Callable[[zipfile.ZipFile], None]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        build(made)
    return path


def test_an_archive_is_read_like_a_folder(tmp_path: Path) -> None:
    def build(made: zipfile.ZipFile) -> None:
        made.writestr("g/ada.jpg", b"pixels")
        made.writestr("g/bob/1.png", b"more")
        made.writestr("g/bob/readme.md", b"-")
        made.writestr("__MACOSX/g/bob/1.png", b"-")
        made.writestr("g/bob/._1.png", b"-")
        made.writestr("g/bob/.thumbs/1.png", b"-")
        made.writestr(".trash/bob/1.png", b"-")

    source = ArchiveSource(archive(tmp_path / "a.zip", build), Layout(), LIMIT)
    assert told(source) == {"g/ada.jpg": ("g", "ada", None, b"pixels"), "g/bob/1.png": ("g", "bob", None, b"more")}


def test_a_hostile_archive_does_no_harm(tmp_path: Path) -> None:
    def build(made: zipfile.ZipFile) -> None:
        for name in ("../g/up.jpg", "/etc/root.jpg", "g/../../x/y.jpg", "c:/g/u.jpg"):
            made.writestr(name, b"pixels")
        made.writestr("g/ada/bomb.jpg", bytes(50_000_000))
        link = zipfile.ZipInfo("g/ada/link.jpg")
        link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        made.writestr(link, "/etc/passwd")
        made.writestr("g/ada/good.jpg", b"pixels")

    path = archive(tmp_path / "a.zip", build)
    found = {name: entry[3] for name, entry in told(ArchiveSource(path, Layout(), LIMIT)).items()}
    assert found == {
        "../g/up.jpg": "outside",
        "/etc/root.jpg": "outside",
        "g/../../x/y.jpg": "outside",
        "c:/g/u.jpg": "outside",
        "g/ada/bomb.jpg": "picture_too_large",
        "g/ada/link.jpg": "outside",
        "g/ada/good.jpg": b"pixels",
    }
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.zip"]


def test_a_member_that_lies_about_its_size_is_cut(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.zip", lambda made: made.writestr("g/ada.jpg", bytes(100_000)))
    data = bytearray(path.read_bytes())
    central = data.index(b"PK\x01\x02")
    data[central + 24 : central + 28] = (500).to_bytes(4, "little")
    path.write_bytes(data)
    ((_, _, _, reason),) = told(ArchiveSource(path, Layout(), LIMIT)).values()
    assert reason in {"unreadable", "picture_too_large"}


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_damaged_member_is_refused_however_it_is_packed(tmp_path: Path, method: int) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", method) as made:
        for name in ("g/ada/1.jpg", "g/bob/1.jpg"):
            made.writestr(name, bytes(range(256)) * 3)
    data = bytearray(path.read_bytes())
    for place in range(50, 80):  # within the first member
        data[place] ^= 0x5A
    path.write_bytes(data)
    found = told(ArchiveSource(path, Layout(), LIMIT))
    assert [entry[3] for entry in found.values()] == ["unreadable", bytes(range(256)) * 3]


def test_a_folder_that_cannot_be_looked_through_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here for the length of its path, as permissions are none for root; its pictures were left out silently."""
    write(tmp_path / "g" / "ada.jpg")
    monkeypatch.chdir(tmp_path / "g")
    for _ in range(20):
        os.mkdir("d" * 250)  # noqa: PTH102 (relative, for the whole path is too long)
        os.chdir("d" * 250)
    monkeypatch.chdir(tmp_path)
    found = told(FolderSource(tmp_path, Layout(), LIMIT))
    assert found.pop("g/ada.jpg") == ("g", "ada", None, b"pixels")
    assert [entry[3] for entry in found.values()] == ["unreadable"]


def test_damage_and_foreign_names_in_an_archive(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.zip", lambda made: made.writestr("g/zhang/1.jpg", b"pixels" * 50))
    data = bytearray(path.read_bytes())
    data[45] ^= 0xFF
    path.write_bytes(data)
    ((_, user, _, reason),) = told(ArchiveSource(path, Layout(), LIMIT)).values()
    assert (user, reason) == ("zhang", "unreadable")

    old = archive(tmp_path / "b.zip", lambda made: made.writestr("g/XX/1.jpg", b"pixels"))
    gbk = old.read_bytes().replace(b"g/XX/1.jpg", b"g/\xd5\xc5/1.jpg")  # as Chinese Windows writes it
    old.write_bytes(gbk)
    assert "g/张/1.jpg" in told(ArchiveSource(old, Layout(), LIMIT))
    with pytest.raises(SourceError):
        ArchiveSource(write(tmp_path / "c.zip", b"no archive"), Layout(), LIMIT)


@pytest.mark.parametrize("name", ["g/张/1.jpg", "g/é\u0301a/1.jpg", "g/éa/1.jpg"])
def test_a_name_that_python_has_from_the_field_for_unicode_is_that_name(tmp_path: Path, name: str) -> None:
    """Info-ZIP writes one beside bytes of the machine's own; Python knows the field since 3.12."""
    read = zipfile.ZipInfo("g/1.jpg")
    read.filename = name
    assert name_of(read) == name

    def build(made: zipfile.ZipFile) -> None:
        member = zipfile.ZipInfo("g/_/1.jpg")
        content = struct.pack("<BL", 1, zlib.crc32(b"g/_/1.jpg")) + name.encode()
        member.extra = struct.pack("<HH", 0x7075, len(content)) + content
        made.writestr(member, b"pixels")

    source = ArchiveSource(archive(tmp_path / "a.zip", build), Layout(), LIMIT)
    assert list(told(source)) == [name if sys.version_info >= (3, 12) else "g/_/1.jpg"]


def test_a_table_names_paths_and_addresses(tmp_path: Path) -> None:
    write(tmp_path / "p" / "1.jpg")
    outside = write(tmp_path.parent / f"{tmp_path.name}.jpg")
    rows = [
        "group_id,user_id,picture,user_info",
        "g,ada,p/1.jpg,工程师张三女士",
        f"g,ada,{outside},",
        "g,ada,../x.jpg,",
        "g,ada,http://pictures/1.jpg,",
        "g,ada,http://pictures/2.jpg,",
        f"g,eve,p/./1.jpg,{'x' * 300}",
        "g,b b,p/2.jpg,",
        "g,bob,,",
    ]

    def download(address: str) -> bytes:
        if "2" in address:
            raise PictureDownloadFailed("gone")
        return b"fetched"

    for encoding in ("utf-8", "utf-8-sig", "gb18030"):
        table = write(tmp_path / "t.csv", "\r\n".join(rows).encode(encoding))
        source = TableSource(table, tmp_path, Layout(), LIMIT, download)
        assert source.remote
        assert [entry[3] for entry in told(source).values()] == [
            *(b"pixels", "outside", "outside", b"fetched", "download_failed"),
            *("bad_user_info", "bad_user_id", "no_picture"),
        ]
        assert told(source)["p/1.jpg"][:3] == ("g", "ada", "工程师张三女士")
        assert told(source)["../x.jpg"][:3] == ("g", "ada", None)
    outside.unlink()


@pytest.mark.parametrize("text", ["", "a,b\n1,2", "user_id,picture\na,b"])
def test_what_is_no_table_is_told(tmp_path: Path, text: str) -> None:
    table = write(tmp_path / "t.csv", text.encode())
    with pytest.raises(SourceError, match="first line"):
        TableSource(table, tmp_path, Layout(), LIMIT)


def test_a_table_that_breaks_off_costs_its_last_row(tmp_path: Path) -> None:
    table = write(tmp_path / "t.csv", b'group_id,user_id,picture\n"g')
    assert [entry[3] for entry in told(TableSource(table, tmp_path, Layout(), LIMIT)).values()] == ["bad_user_id"]
    table = write(tmp_path / "t.csv", b"group_id,user_id,picture\ng,a," + b"x" * 200_000)
    with pytest.raises(SourceError, match="line 2"):
        TableSource(table, tmp_path, Layout(), LIMIT).count()


def test_a_group_for_everybody_spares_the_column(tmp_path: Path) -> None:
    table = write(tmp_path / "t.csv", b"user_id;image\nada;1.jpg\n")
    write(tmp_path / "1.jpg")
    source = TableSource(table, tmp_path, Layout(group="all"), LIMIT)
    assert told(source) == {"1.jpg": ("all", "ada", None, b"pixels")}
    assert not source.remote


def test_rows_of_another_app_are_refused(tmp_path: Path) -> None:
    """`aipface reembed` lists people of all apps in one table: those of one must not be found in another."""
    lines = ("app_id,group_id,user_id,picture", " 1 ,g,ada,1.jpg", "2,g,mallory,2.jpg", ",g,bob,3.jpg")
    table = write(tmp_path / "t.csv", "\n".join(lines).encode())
    for name in ("1.jpg", "2.jpg", "3.jpg"):
        write(tmp_path / name)
    found = told(TableSource(table, tmp_path, Layout(), LIMIT, app_id="1"))
    assert {user: content for _, user, _, content in found.values()} == {
        "ada": b"pixels",
        "mallory": "another_app",
        "bob": b"pixels",
    }


@pytest.mark.parametrize("size", [0, 3, 10_000])
def test_a_file_is_read_whatever_size_is_told_of_it(tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some network file systems tell no size, and files grow."""
    root = tmp_path.resolve()
    (root / "a.jpg").write_bytes(b"x" * 500)
    real = os.fstat

    def wrong(descriptor: int) -> os.stat_result:
        fields = list(real(descriptor)[:10])
        fields[stat.ST_SIZE] = size
        return os.stat_result(fields)

    monkeypatch.setattr(os, "fstat", wrong)
    assert read_below(root, Path("a.jpg"), 500) == b"x" * 500
    with pytest.raises(Refusal, match="more than 499"):
        read_below(root, Path("a.jpg"), 499)


def test_a_made_user_info_is_no_longer_than_the_api_takes() -> None:
    """Else the library could not be exported: names of folders have up to 255 bytes, written as four letters each."""
    layout = Layout(make_ids=True)
    for name in ("\udcd5" * 255, "张" * 200):
        info = layout.named("g", name, "", lambda: b"").default_info
        assert info
        assert 250 < len(info.encode()) <= MAX_USER_INFO_BYTES


def test_a_table_with_a_zero_byte_or_an_endless_header(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", b"group_id,user_id,picture,user_info\ng,ada,a.jpg,x\0y\ng,bob,b.jpg,y\n")
    write(tmp_path / "b.jpg")
    found = told(TableSource(path, tmp_path, Layout(), LIMIT))
    assert [entry[3] for entry in found.values()] == ["bad_user_info", b"pixels"]
    path.write_bytes(b"group_id,user_id,picture," + b"x" * 200_000 + b"\n")
    with pytest.raises(SourceError, match="line 1"):
        TableSource(path, tmp_path, Layout(), LIMIT)


@pytest.mark.parametrize("name", ["out", "out.zip"])
def test_half_an_export_is_not_taken_for_pictures(tmp_path: Path, name: str) -> None:
    """The manifest is copied last by name, too: the crops before it would become one person."""
    if name.endswith(".zip"):
        archive(tmp_path / name, lambda made: made.writestr("library.jsonl", b""))
    else:
        write(tmp_path / name / "library.jsonl")
    with pytest.raises(SourceError, match="unfinished"):
        Export.lies_at(tmp_path / name)


@pytest.mark.parametrize("name", ["out", "out.zip"])
def test_an_export_within_a_folder_is_not_taken_for_pictures(tmp_path: Path, name: str) -> None:
    """Twenty strangers became faces of one user."""
    if name.endswith(".zip"):
        archive(tmp_path / name, lambda made: made.writestr("library/library.jsonl", b""))
    else:
        write(tmp_path / name / "library" / "library.jsonl")
    with pytest.raises(SourceError, match="in its folder library"):
        Export.lies_at(tmp_path / name)


def test_a_report_that_the_disk_does_not_take_is_one_sentence() -> None:
    def fill() -> None:
        with csv_report(Path("/dev/full")) as report:
            for _ in range(1000):
                report.add(Result("g/a.jpg", "g", "a", Outcome.PRESENT))

    with pytest.raises(SourceError, match="cannot be written: No space left"):
        fill()
