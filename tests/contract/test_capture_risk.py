"""The risk of captures: every rule speaks, levels add up as documented, nothing crosses apps."""

from __future__ import annotations

import base64
import dataclasses
import itertools
import time
from collections.abc import Callable
from datetime import timedelta

import cv2
import httpx
import numpy as np
import pytest

from service.access.keys import Keyring
from service.app import Service, create_app
from service.capture.risk import JudgeRisk
from service.capture.rules import RiskLimits
from service.generations import Generations
from service.storage.engine import Database
from tests.contract.conftest import caller, listening
from tests.contract.devices import Device, device_of
from tests.contract.wire import Answer, Wire
from tests.fixtures.envelopes import content, seal
from tests.fixtures.pictures import Pictures

_numbers = itertools.count(1)

Risk = tuple[str, list[str]]
Fresh = Callable[[str], str]


@pytest.fixture(scope="module")
def device(service: Service, http: httpx.Client) -> Device:
    return device_of(caller(service, http))


@pytest.fixture
def name() -> str:
    """A device that nobody has seen."""
    return f"device-{next(_numbers)}"


@pytest.fixture(scope="module")
def fresh(pictures: Pictures) -> Fresh:
    """A photograph as another file each time: somebody taken again."""

    def taken(photo: str) -> str:
        image = cv2.imdecode(np.frombuffer(pictures.bytes(photo), np.uint8), cv2.IMREAD_COLOR)
        assert image is not None
        number = next(_numbers)
        image[:16, :16] = 2 * (number % 120), 2 * (number // 120), 0  # a block of its own survives the compression
        done, data = cv2.imencode(".jpg", image)
        assert done
        return base64.b64encode(data.tobytes()).decode()

    return taken


def risk_of(answer: Answer) -> Risk:
    assert answer["error_code"] == 0, answer
    assert list(answer)[6:] == ["dec_image", "risk_level", "risk_tag"]
    return answer["risk_level"], answer["risk_tag"]


def verify(device: Device, image: str, name: str, **changes: object) -> Risk:
    return risk_of(device.verify(seal(device.keys[0], content(image, device_id=name, **changes))))


def match(device: Device, image: str, register: str, name: str, **more: object) -> Answer:
    sealed = seal(device.keys[0], content(image, device_id=name))
    sent = {"sec_level": "lite", "data": sealed, "register_image": register, "register_image_type": "BASE64"}
    return device.wire.call("faceMingJingMatch", {**sent, **more})


def test_a_new_device_is_ordinary_and_a_known_one_normal(device: Device, fresh: Fresh, name: str) -> None:
    assert verify(device, fresh("obama.jpg"), name) == ("3", [])
    assert verify(device, fresh("obama.jpg"), name) == ("4", [])


def test_risk_is_told_when_asked_for(device: Device, fresh: Fresh, name: str) -> None:
    image, register = fresh("obama.jpg"), fresh("obama2.jpg")
    assert list(match(device, image, register, name))[6:] == ["dec_image"]
    assert list(match(device, image, register, name, risk_identify=False))[6:] == ["dec_image"]
    assert risk_of(match(device, image, register, name, risk_identify="true")) == ("3", [])  # nothing was noted before
    sealed = seal(device.keys[0], content(fresh("obama.jpg"), device_id=name))
    assert list(device.verify(sealed, risk_identify="false"))[6:] == ["dec_image"]


def test_plain_pictures_have_no_risk(device: Device, fresh: Fresh) -> None:
    sent = {"sdk_version": "1", "image_list": [fresh("obama.jpg")], "risk_identify": "true", "device_id": "x"}
    answer = device.wire.call("onlinePictureLiveV4", sent)
    assert (answer["error_code"], list(answer)[6:]) == (0, [])


def test_a_picture_sent_again(device: Device, fresh: Fresh, name: str) -> None:
    image = fresh("obama.jpg")
    assert verify(device, image, name) == ("3", [])
    assert verify(device, image, name) == ("3", ["picture_repeated"])
    assert verify(device, image, f"{name}-other") == ("1", ["picture_replayed"])
    assert verify(device, fresh("obama.jpg"), f"{name}-other") == ("4", [])


def test_pictures_of_one_envelope_do_not_repeat_each_other(device: Device, fresh: Fresh, name: str) -> None:
    image = fresh("obama.jpg")
    sealed = seal(device.keys[0], content(image, image, device_id=name))
    assert risk_of(device.verify(sealed)) == ("3", [])


def test_many_people(device: Device, fresh: Fresh, name: str) -> None:
    assert verify(device, fresh("obama.jpg"), name) == ("3", [])
    assert verify(device, fresh("obama2.jpg"), name)[1] == []  # the same person
    assert verify(device, fresh("biden.jpg"), name)[1] == []
    assert verify(device, fresh("astronaut.png"), name) == ("2", ["device_many_people"])
    assert verify(device, fresh("obama.jpg"), name) == ("2", ["device_many_people"])  # lately means lately


def test_many_failures(device: Device, fresh: Fresh, name: str) -> None:
    obama, biden = fresh("obama2.jpg"), fresh("biden.jpg")
    for risk in (("3", []), ("3", []), ("2", ["device_many_failures"])):
        answer = match(device, fresh("obama.jpg"), biden, name, risk_identify=True)
        assert answer["result"]["score"] < 80
        assert risk_of(answer) == risk
    answer = match(device, fresh("obama.jpg"), obama, name, risk_identify=True)
    assert risk_of(answer) == ("2", ["device_many_failures"])


def test_captures_that_end_in_an_error_are_failures(device: Device, fresh: Fresh, name: str) -> None:
    for _ in range(3):
        done, gray = cv2.imencode(".png", np.full((64, 64, 3), next(_numbers) % 256, np.uint8))
        assert done
        sealed = seal(device.keys[0], content(base64.b64encode(gray.tobytes()).decode(), device_id=name))
        assert device.verify(sealed)["error_code"] == 222202
    assert verify(device, fresh("obama.jpg"), name) == ("2", ["device_many_failures"])


def test_a_clock_that_is_off(device: Device, fresh: Fresh, name: str) -> None:
    for offset in (-120, 120):
        risk = verify(device, fresh("obama.jpg"), name, timestamp=time.time() + offset)
        assert risk == ("3", ["device_clock_off"])


def test_suspicions_add_up(device: Device, fresh: Fresh, name: str) -> None:
    for photo in ("obama.jpg", "biden.jpg", "astronaut.png"):
        match(device, fresh(photo), fresh("t1.jpg"), name, risk_identify=True)
    risk = verify(device, fresh("obama.jpg"), name)
    assert risk == ("1", ["device_many_people", "device_many_failures"])


def test_nothing_crosses_apps(device: Device, other_wire: Wire, fresh: Fresh, name: str) -> None:
    image = fresh("obama.jpg")
    assert verify(device, image, name) == ("3", [])
    assert verify(device_of(other_wire), image, name) == ("3", [])


def test_where_the_history_cannot_be_asked(service: Service, fresh: Fresh, name: str) -> None:
    """The answer does not depend on it: the risk is left out, with the reason."""
    limits = RiskLimits(5, 5, timedelta(minutes=1), timedelta(days=1), timedelta(days=1))
    nowhere = Database("postgresql://nobody@127.0.0.1:1/nothing")
    judge = JudgeRisk(service.detect._intake, service.compare._scores, nowhere, Keyring(bytes(32)), limits)
    generations = Generations(service.database, service.generations._make)
    generations.begin(dataclasses.replace(service.generations.current, judge_risk=judge))
    with listening(create_app(dataclasses.replace(service, generations=generations))) as http:
        device = device_of(caller(service, http))
        answer = device.verify(seal(device.keys[0], content(fresh("obama.jpg"), device_id=name)))
    assert answer["error_code"] == 0
    assert list(answer)[6:] == ["dec_image", "risk_warn_code"]
    assert answer["risk_warn_code"] == 2
