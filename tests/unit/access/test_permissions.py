from __future__ import annotations

import pytest

from service.access.permissions import PERMISSIONS, check, expand
from service.errors import AppUnavailable, PermissionDenied
from service.values import App


def app(permissions: frozenset[str] | None, *, enabled: bool = True) -> App:
    return App(1, "1", "test", "key", 0, permissions, enabled)


def test_an_app_without_a_list_may_do_everything() -> None:
    for permission in PERMISSIONS:
        check(app(None), permission)


def test_an_app_with_a_list_may_do_what_it_names() -> None:
    check(app(frozenset({"detect"})), "detect")
    for permission in set(PERMISSIONS) - {"detect"}:
        with pytest.raises(PermissionDenied):
            check(app(frozenset({"detect"})), permission)


def test_a_disabled_app_may_do_nothing() -> None:
    with pytest.raises(AppUnavailable):
        check(app(None, enabled=False), "detect")


def test_a_folder_stands_for_what_is_in_it() -> None:
    assert expand(["faceset/*"]) == {name for name in PERMISSIONS if name.startswith("faceset/")}
    assert expand(["faceset/face/*", "detect"]) == {"detect", "faceset/face/delete", "faceset/face/getlist"}


@pytest.mark.parametrize("name", ["", "*", "Detect", "faceset", "nothing/*"])
def test_a_name_that_means_nothing_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="there is no permission"):
        expand(["detect", name])
