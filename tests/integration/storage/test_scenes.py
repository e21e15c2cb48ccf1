"""Groups of scenes: names are shared, contents are not."""

from __future__ import annotations

import pytest

from service.errors import GroupExists
from service.storage.engine import Database
from service.values import ANY_SCENE
from tests.fixtures.library import new_app


def test_groups_are_found_by_their_scene(database: Database) -> None:
    app = new_app(database)
    with database.write(app.pk) as work:
        pks = {name: work.groups.insert(name, scene) for name, scene in (("a", None), ("b", "x"), ("c", "y"))}
    with database.read() as reader:
        for scene, expected in ((None, "a"), ("x", "b"), ("y", "c"), (ANY_SCENE, "bc"), ("z", "")):
            found = reader.groups.pks_in_scene(app.pk, ["a", "b", "c", "d"], scene)
            assert found == {name: pks[name] for name in expected}
        assert reader.groups.pks(app.pk, ["a", "b", "c", "d"]) == pks
        assert [reader.groups.scene(pk) for pk in pks.values()] == [None, "x", "y"]


@pytest.mark.parametrize(("first", "second"), [(None, "x"), ("x", None), ("x", "y")])
def test_a_name_belongs_to_one_scene(database: Database, first: str | None, second: str | None) -> None:
    app = new_app(database)
    with database.write(app.pk) as work:
        pk = work.groups.get_or_create("a", first)
        assert work.groups.get_or_create("a", first) == pk
    with pytest.raises(GroupExists), database.write(app.pk) as work:
        work.groups.get_or_create("a", second)
