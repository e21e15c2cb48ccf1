"""Settings: where they come from, what they may be, and how a slip is told."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args, get_origin

import pytest

from service.processors import available_cpus
from service.settings import (
    Settings,
    SettingsError,
    UnknownSettingWarning,
    load_settings,
)

CHOICES = {
    name: get_args(field.annotation)
    for name, field in Settings.model_fields.items()
    if get_origin(field.annotation) is Literal
}
"""Settings that are one word of a few, and the words."""


def test_defaults_need_nothing(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path)
    assert (settings.host, settings.port, settings.pack) == ("127.0.0.1", 8000, "core")
    assert settings.database_url is None
    assert settings.model_dir == tmp_path / "models"
    assert settings.inference_threads == available_cpus()
    assert settings.request_threads == settings.inference_threads + settings.queue_limit + 16


def test_the_command_line_beats_the_environment_beats_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "aipface.toml").write_text('port = 1\nqueue_limit = 1\nurl_allow_hosts = ["nas.local"]\n')
    monkeypatch.setenv("AIPFACE_HOME", str(tmp_path))
    monkeypatch.setenv("AIPFACE_PORT", "2")
    monkeypatch.setenv("AIPFACE_PACK", "extended")
    settings = load_settings(pack="buffalo_l")
    assert (settings.queue_limit, settings.port, settings.pack) == (1, 2, "buffalo_l")
    assert settings.url_allow_hosts == ("nas.local",)


def test_a_named_file_is_read_and_must_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIPFACE_CONFIG", str(tmp_path / "mine.toml"))
    with pytest.raises(SettingsError, match="does not exist"):
        load_settings(home=tmp_path)
    (tmp_path / "mine.toml").write_text("port = 7\n")
    assert load_settings(home=tmp_path).port == 7


@pytest.mark.parametrize(
    ("content", "complaint"),
    [("prot = 1", "unknown settings: prot"), ("port = ", "cannot be read"), ('port = "x"', "AIPFACE_PORT")],
)
def test_a_bad_file_is_one_sentence(tmp_path: Path, content: str, complaint: str) -> None:
    (tmp_path / "aipface.toml").write_text(content)
    with pytest.raises(SettingsError, match=complaint) as caught:
        load_settings(home=tmp_path)
    assert "\n" not in str(caught.value).strip()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", "65536"),
        ("port", "eighty"),
        ("inference_threads", "0"),
        ("device", "abacus"),
        ("database_url", "mysql://user:hidden@host/name"),
        ("log_level", "loud"),
        ("pack", "../../etc"),
        ("request_threads", "1"),
        ("request_threads", "1000000"),
        ("max_picture_pixels", "999999999999999999999"),  # at which OpenCV would end the process
        ("max_body_bytes", "999999999999999999999"),
        ("upload_bytes_per_app", "999999999999999999999"),  # more than a BIGINT of PostgreSQL's holds
        ("model_dir", "~nosuch/x"),
    ],
)
def test_malformed_values_are_told_without_the_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"AIPFACE_{name.upper()}", value)
    with pytest.raises(SettingsError, match=name) as caught:
        load_settings(home=tmp_path)
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize("name", CHOICES)
def test_a_word_of_a_few_may_be_written_in_any_case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    word = CHOICES[name][0]
    monkeypatch.setenv(f"AIPFACE_{name.upper()}", f" {word.upper()} ")
    assert getattr(load_settings(home=tmp_path), name) == word


def test_unknown_variables_are_warned_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIPFACE_PROT", "8001")
    with pytest.warns(UnknownSettingWarning, match="AIPFACE_PROT"):
        load_settings(home=tmp_path)


def test_an_empty_variable_is_not_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIPFACE_PORT", "")
    assert load_settings(home=tmp_path).port == 8000


def test_lists_are_comma_separated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIPFACE_URL_ALLOW_HOSTS", "nas.local, 10.0.0.7,")
    assert load_settings(home=tmp_path).url_allow_hosts == ("nas.local", "10.0.0.7")


def test_settings_do_not_change_and_hide_their_secrets(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path, database_url="postgresql://u:hidden@h/d", secret_key="hidden")
    with pytest.raises(ValueError, match="frozen"):
        settings.port = 1  # type: ignore[misc]
    assert "hidden" not in repr(settings)
    assert "hidden" not in settings.model_dump_json()


def test_a_home_below_the_users_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load_settings(home="~/faces").home == tmp_path / "faces"


@pytest.mark.parametrize("name", ["HOME", "CONFIG"])
def test_a_place_below_nobodys_home_is_one_sentence(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(f"AIPFACE_{name}", "~nosuch/x")
    with pytest.raises(SettingsError, match=rf"AIPFACE_{name}.*~nosuch.*write it in full"):
        load_settings()


def test_a_home_that_is_a_file_is_called_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, config = tmp_path / "file", tmp_path / "elsewhere.toml"
    file.touch()
    config.write_text("port = 7")
    monkeypatch.setenv("AIPFACE_HOME", str(file))
    for named in (None, str(config)):
        if named is not None:
            monkeypatch.setenv("AIPFACE_CONFIG", named)
        with pytest.raises(SettingsError, match=rf"^setting home \(AIPFACE_HOME\): {file} is no folder$"):
            load_settings()
    monkeypatch.setenv("AIPFACE_CONFIG", str(file / "aipface.toml"))
    with pytest.raises(SettingsError, match="which does not exist"):
        load_settings(home=tmp_path)


def test_every_whole_number_has_a_bound() -> None:
    bounds = {name: {type(each).__name__ for each in field.metadata} for name, field in Settings.model_fields.items()}
    numbers = [name for name, field in Settings.model_fields.items() if field.annotation in {int, int | None}]
    assert len(numbers) > 20
    assert [name for name in numbers if not {"Ge", "Le"} <= bounds[name]] == []


@pytest.mark.parametrize(
    "url", ["https://people.example/v1", "http://127.0.0.1:9000/x", "http://[::1]/", "http://localhost/"]
)
def test_addresses_of_an_authority(url: str, tmp_path: Path) -> None:
    assert load_settings(home=tmp_path, identity_url=url).identity_url == url


@pytest.mark.parametrize(
    "url",
    [
        "http://people.example/",
        "people.example",
        "https://",
        "ftp://localhost/",
        "https://user:hidden@people.example/",
        "https://people.example:https/",
        "https://people.example:99999/",
        "https://people.example/\nv1",
        "https://people example/",
    ],
)
def test_an_authority_is_asked_over_a_guarded_line_alone(url: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="AIPFACE_IDENTITY_URL") as caught:
        load_settings(home=tmp_path, identity_url=url)
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize("given", [{"identity_token": "hidden"}, {"identity_ca_file": "/ca.pem"}])
def test_nobody_takes_the_register_for_an_authority_without_an_address(given: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="needs identity_url") as caught:
        load_settings(home=tmp_path, **given)
    assert "hidden" not in str(caught.value)
    assert load_settings(home=tmp_path, identity_url="https://people.example/", **given).identity_url is not None


def test_proxies_are_addresses_or_networks(tmp_path: Path) -> None:
    proxies = "10.0.0.1, 10.1.0.0/16, ::1, fd00::/8"
    assert len(load_settings(home=tmp_path, trusted_proxies=proxies).trusted_proxies) == 4


@pytest.mark.parametrize("proxy", ["nginx", "10.0.0.1/24", "10.0.0.0/33", "10.0.0.1:8080", "*"])
def test_proxies_that_would_silently_be_believed_nothing(proxy: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="AIPFACE_TRUSTED_PROXIES"):
        load_settings(home=tmp_path, trusted_proxies=f"127.0.0.1,{proxy}")
