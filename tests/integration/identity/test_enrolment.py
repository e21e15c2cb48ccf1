"""Entering people, one by one and from lists, with real pictures."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from service.errors import ReferencePicturePoor
from service.identity.enrolment import Enrolment, ListMalformed, Outcome, Result, read_list
from service.identity.local import LocalAuthority
from service.identity.register import Person, ReferencePicture, Register
from service.intake.intake import Intake
from service.storage.engine import Database
from tests.fixtures.library import new_app, random_embedding
from tests.fixtures.people import claim, number
from tests.fixtures.pictures import Pictures

NAME = "韦小宝"


@pytest.fixture
def enrolment(register: Register, intake: Intake) -> Enrolment:
    return Enrolment(register, intake, keep_portraits=True)


def write(path: Path, *rows: str, heading: str = "id_card_number,name,valid_from,valid_to,picture") -> Path:
    path.write_text("\n".join([heading, *rows]) + "\n", encoding="utf-8")
    return path


def outcomes(results: list[Result]) -> list[str]:
    return [result.outcome.value for result in results]


def test_somebody_is_entered_once(enrolment: Enrolment, register: Register, pictures: Pictures) -> None:
    picture = pictures.bytes("obama.jpg")
    assert enrolment.enter(claim(1), None, picture) is Outcome.ENTERED
    assert enrolment.enter(claim(1), None, picture) is Outcome.UNCHANGED
    assert enrolment.enter(claim(1, "张三"), None, picture) is Outcome.ENTERED
    assert enrolment.enter(claim(1, "张三"), None, None) is Outcome.ENTERED
    entry = register.find(number(1))
    assert entry is not None
    assert entry.person.picture is None


def test_portraits_may_be_left_out(register: Register, intake: Intake, pictures: Pictures) -> None:
    Enrolment(register, intake, keep_portraits=False).enter(claim(1), None, pictures.bytes("obama.jpg"))
    entry = register.find(number(1))
    assert entry is not None
    assert entry.person.picture is not None
    assert entry.person.picture.portrait is None


@pytest.mark.parametrize("content", [b"no picture", b""])
def test_what_is_no_picture(enrolment: Enrolment, register: Register, content: bytes) -> None:
    with pytest.raises(ReferencePicturePoor):
        enrolment.enter(claim(1), None, content)
    assert register.find(number(1)) is None


def test_a_picture_without_a_face(enrolment: Enrolment) -> None:
    done, data = cv2.imencode(".png", np.full((200, 200, 3), 128, np.uint8))
    assert done
    with pytest.raises(ReferencePicturePoor, match="no face"):
        enrolment.enter(claim(1), None, data.tobytes())


def test_other_weights_see_the_portrait_anew(
    register: Register, database: Database, intake: Intake, pictures: Pictures, enrolment: Enrolment
) -> None:
    app = new_app(database)
    authority = LocalAuthority(register, intake)
    enrolment.enter(claim(1), None, pictures.bytes("obama.jpg"))
    entry = register.find(number(1))
    assert entry is not None
    assert entry.person.picture is not None
    ours = entry.person.picture
    foreign = ReferencePicture("other-weights", random_embedding(1), ours.portrait)
    register.put(Person(claim(1), None, foreign), b"")

    attestation = authority.ask(app, claim(1), picture=True)
    assert attestation.embedding is not None
    assert float(np.dot(attestation.embedding, ours.embedding)) > 0.95
    entry = register.find(number(1))
    assert entry is not None
    assert entry.person.picture is not None
    assert entry.person.picture.model_id == intake.model_id
    assert entry.person.picture.portrait == ours.portrait

    register.put(Person(claim(1), None, ReferencePicture("other-weights", random_embedding(1), None)), b"")
    with pytest.raises(ReferencePicturePoor, match="other-weights"):
        authority.ask(app, claim(1), picture=True)
    assert authority.ask(app, claim(1), picture=False).embedding is None


def test_a_list(enrolment: Enrolment, register: Register, pictures: Pictures, tmp_path: Path) -> None:
    wrong = number(9)[:-1] + ("0" if number(9)[-1] != "0" else "1")
    rows = read_list(
        write(
            tmp_path / "people.csv",
            f"{number(1)},{NAME},20160304,20360304,obama.jpg",
            f"{number(2)},{NAME},20160304,长期,",
            f"{number(1)},{NAME},,,biden.jpg",
            f"{wrong},{NAME},,,",
            f"{number(3)},张3,,,",
            f"{number(4)},{NAME},20160304,20170304,",
            f"{number(5)},{NAME},,,missing.jpg",
            f"{number(6)},{NAME},,,../people.csv",
            f"{number(7)},{NAME},,,people.csv",
            f"{number(8)}",
        )
    )
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "people.csv").write_text("no picture")
    (folder / "obama.jpg").write_bytes(pictures.bytes("obama.jpg"))
    results = list(enrolment.enter_all(rows, folder, threads=2))
    assert outcomes(results) == ["entered", "entered", *["refused"] * 8]
    assert [result.line for result in results] == list(range(2, 12))
    reasons = [result.reason for result in results[2:]]
    for reason, words in zip(
        reasons,
        (
            "stands in line 2",
            "check character",
            "no name has",
            "valid_to",
            "No such file",
            "outside the folder",
            "reference picture poor",
            "name malformed",
        ),
        strict=True,
    ):
        assert words in reason
    told = " ".join(f"{result.number} {result.reason}" for result in results)
    assert not [sequence for sequence in range(1, 9) if number(sequence) in told]
    assert NAME not in told
    assert outcomes(list(enrolment.enter_all(rows, folder))) == ["unchanged", "unchanged", *["refused"] * 8]
    assert len(list(register.entries())) == 2


def test_pictures_named_after_numbers(
    enrolment: Enrolment, register: Register, pictures: Pictures, tmp_path: Path
) -> None:
    (tmp_path / f"{number(1)}.jpg").write_bytes(pictures.bytes("biden.jpg"))
    rows = read_list(
        write(tmp_path / "people.csv", f"{number(1)},{NAME}", f"{number(2)},{NAME}", heading="id_card_number,name")
    )
    assert outcomes(list(enrolment.enter_all(rows, tmp_path))) == ["entered", "entered"]
    assert [entry.person.picture is not None for entry in register.entries()] == [True, False]
    assert outcomes(list(enrolment.enter_all(rows, None))) == ["entered", "unchanged"]


def test_a_list_with_a_byte_order_mark_and_blanks(tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    path.write_text(f"\ufeff name , id_card_number ,note\n {NAME} , {number(1)} ,x,surplus\n", encoding="utf-8")
    (row,) = read_list(path)
    assert row.values == {"name": NAME, "id_card_number": number(1)}
    assert number(1) not in repr(row)


@pytest.mark.parametrize("content", [b"", b"name\nx\n", b"id_card_number,name\n\xff\xfe\n"])
def test_what_is_no_list(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "people.csv").write_bytes(content)
    with pytest.raises(ListMalformed, match=r"people\.csv"):
        read_list(tmp_path / "people.csv")


def test_a_picture_too_large_is_not_read(enrolment: Enrolment, tmp_path: Path) -> None:
    with (tmp_path / "huge.jpg").open("wb") as file:
        os.truncate(file.fileno(), 2**31)
    rows = read_list(write(tmp_path / "people.csv", f"{number(1)},{NAME},,,huge.jpg"))
    (result,) = enrolment.enter_all(rows, tmp_path)
    assert "more than" in result.reason
