"""The console in a real Chromium, with a camera that shows a photograph."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from playwright.sync_api import Browser, Page, ViewportSize, expect, sync_playwright

from service.console.password import FILE, PasswordFile
from service.identity.enrolment import MOST_PICTURE_BYTES
from tests.fixtures.people import number
from tests.fixtures.pictures import Pictures
from tests.fixtures.server import LiveServer

PASSWORD = "correct horse battery"
CHROMIUM = os.environ.get("AIPFACE_TEST_CHROMIUM") or next(
    (path for path in map(shutil.which, ("chromium", "google-chrome", "chromium-browser")) if path), None
)
SCREENS: dict[str, ViewportSize] = {"desktop": {"width": 1280, "height": 800}, "phone": {"width": 390, "height": 844}}
UNNAMED_CONTROLS = """() => {
    const named = (each) => each.textContent.trim() || each.getAttribute("aria-label")
        || (each.labels || []).length || each.querySelector("img[alt]:not([alt=''])");
    const controls = "a, button, summary, input:not([type=hidden]):not([hidden]), select";
    return [...document.querySelectorAll(controls)].filter((each) => !named(each)).map((each) => each.outerHTML);
}"""
DRAWN = (
    """(canvas) => canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.some((each) => each)"""
)
PAGES = ("", "apps", "try", "live", "register", "usage", "audit")

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium here: install it, or name it in AIPFACE_TEST_CHROMIUM"
)


@pytest.fixture(scope="module")
def camera(pictures: Pictures, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film of one photograph, as Chromium plays it in place of a camera."""
    picture = cv2.imread(str(pictures.path("obama2.jpg")))
    assert picture is not None
    height, width = 480, 640
    scale = min(height / picture.shape[0], width / picture.shape[1])
    small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    frame = np.zeros((height, width, 3), np.uint8)
    left = (width - small.shape[1]) // 2
    frame[: small.shape[0], left : left + small.shape[1]] = small
    film = tmp_path_factory.mktemp("camera") / "camera.mjpeg"
    film.write_bytes(cv2.imencode(".jpg", frame)[1].tobytes() * 5)
    return film


@pytest.fixture(scope="module")
def browser(camera: Path) -> Iterator[Browser]:
    options = [
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-video-capture={camera}",
        "--no-sandbox",  # tests may run as root
    ]
    with sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=options)
        yield started
        started.close()


@pytest.fixture(scope="module")
def password(server: LiveServer) -> Iterator[str]:
    file = PasswordFile(server.home.folder / FILE)
    file.set(PASSWORD)
    yield PASSWORD
    file.remove()


@pytest.fixture(params=SCREENS)
def page(browser: Browser, server: LiveServer, password: str, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A tab of the operator's; it must not meet an error of a script or of the policy."""
    context = browser.new_context(base_url=server.base_url, viewport=SCREENS[request.param], locale="en-US")
    tab = context.new_page()
    problems: list[str] = []
    tab.on("pageerror", lambda error: problems.append(str(error)))
    tab.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    tab.goto("/console/")
    tab.get_by_label("The operator's password").fill(password)
    tab.get_by_role("button", name="Log in").click()
    tab.wait_for_url("**/console/")
    yield tab
    assert [problem for problem in problems if "status of 413" not in problem] == []  # which a test wants
    context.close()


def test_a_list_of_people_is_entered_with_their_pictures(page: Page, pictures: Pictures, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    shutil.copy(pictures.path("obama.jpg"), folder / f"{number(611)}.jpg")
    people = tmp_path / "people.csv"
    lines = [f'{number(611)},"韦小宝"', f"{number(612)},韦小宝", "1,韦小宝"]
    people.write_text("\ufeffid_card_number,name\r\n" + "\r\n".join(lines) + "\r\n", encoding="utf-8")
    page.goto("/console/register")
    page.get_by_label("The list", exact=True).set_input_files(people)
    page.get_by_label("Their pictures").set_input_files(folder)
    page.get_by_role("button", name="Enter everybody").click()
    expect(page.locator("#state")).to_contain_text("3 / 3", timeout=30_000)
    expect(page.locator("#refused tbody tr")).to_have_count(1)
    expect(page.locator("#refused tbody tr td").first).to_have_text("4")
    assert number(611) not in page.content()


def test_rows_that_cannot_be_entered_are_refused_as_the_command_refuses_them(
    page: Page, pictures: Pictures, tmp_path: Path
) -> None:
    """Nobody is entered without the picture that the list names, and no row ends the list."""
    assert page.viewport_size is not None
    first = 500 + page.viewport_size["width"] % 100  # the server is shared: others have numbers from 600 on
    folder = tmp_path / "pictures"
    folder.mkdir()
    shutil.copy(pictures.path("obama.jpg"), folder / "a.jpg")
    (folder / "large.jpg").write_bytes(bytes(MOST_PICTURE_BYTES + 1))
    rows = [(0, "韦小宝,a.jpg"), (1, "韦小宝,missing.jpg"), (0, "韦春花,"), (2, "韦小宝,large.jpg"), (3, "韦小宝,")]
    people = tmp_path / "people.csv"
    lines = ["id_card_number,name,picture", *(f"{number(first + place)},{rest}" for place, rest in rows)]
    people.write_text("\n".join(lines), encoding="utf-8")
    page.goto("/console/register")
    page.get_by_label("The list", exact=True).set_input_files(people)
    page.get_by_label("Their pictures").set_input_files(folder)
    page.get_by_role("button", name="Enter everybody").click()
    expect(page.locator("#state")).to_have_text("5 / 5 · entered, unchanged, refused: 2, 0, 3", timeout=30_000)
    expect(page.locator("#refused tbody tr")).to_have_text(
        [
            re.compile(r"^3110\*+\w\wThe picture is not in the folder\.$"),
            re.compile(r"^4110\*+\w\wThe number stands in line 2 already\.$"),
            re.compile(r"^5110\*+\w\wThis is larger than a request may be\.$"),
        ]
    )
    assert number(first) not in page.content()
    expect(page.get_by_role("button", name="Enter everybody")).to_be_enabled()


def test_enrol_from_a_file_and_be_found_by_the_camera(page: Page, server: LiveServer, pictures: Pictures) -> None:
    assert page.viewport_size is not None
    group = f"browser_{page.viewport_size['width']}"
    page.goto("/console/try")
    page.get_by_label("App").select_option(server.credentials.app_id)
    page.get_by_label("Call").select_option("user/add")
    page.get_by_label("From a file").first.set_input_files(pictures.path("obama.jpg"))
    page.get_by_label("group_id", exact=True).fill(group)
    page.get_by_label("user_id").fill("obama")
    page.get_by_role("button", name="Send").click()
    expect(page.locator("#code")).to_have_text("SUCCESS")
    assert "addUser" in (page.locator("#sample-python").text_content() or "")
    drawn = page.locator("#canvas").bounding_box()
    assert drawn is not None
    assert drawn["width"] > 100

    page.goto(f"/console/library/{server.credentials.app_id}/{group}")
    thumbnail = page.locator("ul.faces img")
    expect(thumbnail).to_be_visible()
    assert thumbnail.evaluate("picture => picture.decode().then(() => picture.naturalWidth)") > 50

    page.goto("/console/live")
    page.get_by_label("App").select_option(server.credentials.app_id)
    page.get_by_label("Groups, comma separated").fill(group)
    page.get_by_role("button", name="Start").click()
    expect(page.locator("#people")).to_have_text("obama", timeout=30_000)
    page.route("**/console/try", lambda route: route.fulfill(body="no JSON"))  # whoever comes now is not who was there
    expect(page.locator("#people")).to_have_text("")
    expect(page.locator("#state")).to_have_text("The server did not answer as it should.")
    assert page.locator(".stage canvas").evaluate(DRAWN) is False
    page.unroute("**/console/try")
    expect(page.locator("#people")).to_have_text("obama")
    page.route("**/console/try", lambda _: None)  # nor is who was there while nothing answers
    expect(page.locator("#people")).to_have_text("", timeout=30_000)
    assert page.locator(".stage canvas").evaluate(DRAWN) is False
    page.unroute("**/console/try")
    expect(page.locator("#people")).to_have_text("obama", timeout=30_000)
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#people")).to_have_text("")


def test_a_picture_of_the_camera_is_described(page: Page, server: LiveServer) -> None:
    page.goto("/console/try")
    page.get_by_label("App").select_option(server.credentials.app_id)
    page.get_by_role("button", name="Send").click()
    expect(page.locator("#state")).to_have_text("Choose a picture first.")
    page.get_by_role("button", name="From the camera").first.click()
    page.get_by_role("button", name="Take the picture").click()
    expect(page.locator("#canvas")).to_be_visible()
    page.get_by_role("button", name="Send").click()
    expect(page.locator("#code")).to_have_text("SUCCESS")
    expect(page.locator("#tables")).to_contain_text(re.compile(r"age\d+"))


def test_answers_are_shown_with_their_own_picture_or_none(
    page: Page, server: LiveServer, pictures: Pictures, tmp_path: Path
) -> None:
    no_picture = tmp_path / "notes.txt"
    no_picture.write_text("no picture")
    page.goto("/console/try")
    page.get_by_label("App").select_option(server.credentials.app_id)
    page.get_by_label("From a file").first.set_input_files(pictures.path("obama.jpg"))
    with page.expect_response("**/console/try") as answered:
        page.get_by_role("button", name="Send").click()
    expect(page.locator("#code")).to_have_text("SUCCESS")
    told = answered.value.json()["answer"]["log_id"]  # too large for a number of a script
    expect(page.locator("#json")).to_contain_text(f'"log_id": {told},')
    page.get_by_label("From a file").first.set_input_files(no_picture)
    expect(page.locator("#canvas")).to_be_hidden()
    page.get_by_role("button", name="Send").click()
    expect(page.locator("#code")).to_contain_text("222203")
    expect(page.locator("#state")).to_have_text("")
    page.route("**/console/try", lambda route: route.fulfill(status=413))
    page.get_by_role("button", name="Send").click()
    expect(page.locator("#state")).to_have_text("This is larger than a request may be.")
    expect(page.locator("#result")).to_be_hidden()


def test_the_longest_names_and_information_fit_the_screen(page: Page, server: LiveServer, pictures: Pictures) -> None:
    """The audit log's calls stay words where somebody's name is long."""
    assert page.viewport_size is not None
    group, user = f"{page.viewport_size['width']:_<128}", "u" * 128
    page.goto("/console/try")
    page.get_by_label("App").select_option(server.credentials.app_id)
    page.get_by_label("Call").select_option("user/add")
    page.get_by_label("From a file").first.set_input_files(pictures.path("obama.jpg"))
    for field, value in (("group_id", group), ("user_id", user), ("user_info", "W" * 256)):
        page.get_by_label(field, exact=True).fill(value)
    page.get_by_role("button", name="Send").click()
    expect(page.locator("#code")).to_have_text("SUCCESS")
    library = f"library/{server.credentials.app_id}"
    for name in (library, f"{library}/{group}", f"{library}/{group}/{user}", "audit"):
        page.goto(f"/console/{name}")
        assert page.evaluate("() => document.documentElement.scrollWidth <= window.innerWidth"), name
    call = page.get_by_role("row").filter(has_text=user).locator("td.code").first.bounding_box()
    assert call is not None
    assert call["width"] > 60


def test_pages_are_accessible_and_fit_the_screen(page: Page, server: LiveServer) -> None:
    """The basics: a title and one main heading, every control has a name, nothing is wider than the screen."""
    for name in (*PAGES, f"apps/{server.credentials.app_id}/quota"):
        page.goto(f"/console/{name}")
        assert page.title().endswith("· aipface")
        assert page.get_by_role("heading", level=1).count() == 1
        assert page.get_by_role("main").count() == 1
        assert page.evaluate("() => document.documentElement.scrollWidth <= window.innerWidth"), name
        unnamed = page.evaluate(UNNAMED_CONTROLS)
        assert unnamed == [], name
        assert page.evaluate("() => [...document.images].every((each) => each.hasAttribute('alt'))"), name
        page.keyboard.press("Tab")
        assert page.evaluate("() => document.activeElement.className") == "skip", name


def test_a_key_is_made_and_shown_once(page: Page) -> None:
    page.goto("/console/apps")
    page.get_by_label("Name").fill("door")
    page.get_by_role("button", name="Create").click()
    expect(page.locator("#secret")).to_have_text(re.compile(r"^\w{32}$"))
    page.get_by_role("link", name="Apps").click()
    expect(page.locator("#secret")).to_have_count(0)
    page.get_by_role("button", name="Log out").click()
    page.wait_for_url("**/console/login")
    page.goto("/console/apps")
    page.wait_for_url("**/console/login?next=/console/apps")


def test_the_pages_speak_chinese(page: Page) -> None:
    page.goto("/console/")
    page.get_by_role("link", name="中文").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("概览")
    page.goto("/console/usage")
    expect(page.get_by_role("heading", level=1)).to_have_text("用量")
