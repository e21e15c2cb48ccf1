"""What calls leave in the audit log: who asked what of whom and how it ended, and no more."""

from __future__ import annotations

from service.app import Service
from service.storage.audit import AuditEntry
from tests.contract.wire import Wire
from tests.fixtures.people import claim


def entries(service: Service, wire: Wire) -> list[AuditEntry]:
    """The app's entries, oldest first."""
    app = service.apps.by_app_id(wire.credentials.app_id)
    assert app is not None
    service.audit.flush()
    return service.audit.latest(100, chain=app.pk)[::-1]


def test_writes_reads_and_failures_stand_there_with_their_log_id(service: Service, wire: Wire) -> None:
    added = wire.call("groupAdd", {"group_id": "g1"})
    again = wire.call("groupAdd", {"group_id": "g1"})
    listed = wire.call("getGroupUsers", {"group_id": "g1"})
    missing = wire.call("getUser", {"group_id": "g1,g2", "user_id": "u1"})
    wire.call("search", {"image": "x", "image_type": "BASE64", "group_id_list": "g1, g2"})
    found = [entry.draft for entry in entries(service, wire)]
    assert [(draft.call, draft.outcome) for draft in found] == [
        ("groupAdd", "0"),
        ("groupAdd", str(again["error_code"])),
        ("getGroupUsers", "0"),
        ("getUser", str(missing["error_code"])),
        ("search", found[-1].outcome),
    ]
    assert {draft.actor for draft in found} == {f"app:{wire.credentials.app_id}"}
    assert [draft.groups for draft in found] == [("g1",), ("g1",), ("g1",), ("g1", "g2"), ("g1", "g2")]
    assert found[3].users == ("u1",)
    assert [draft.log_id for draft in found[:3]] == [answer["log_id"] for answer in (added, again, listed)]


def test_nobody_unknown_and_nothing_malformed_is_written(service: Service, wire: Wire) -> None:
    wire.post("/rest/2.0/face/v3/faceset/group/add", b'{"group_id":"g"}', query="access_token=nonsense")
    wire.call("getUser", {"group_id": "g\x00'); --", "user_id": "韦小宝"})
    (only,) = entries(service, wire)
    assert (only.draft.groups, only.draft.users) == ((), ())
    assert only.draft.outcome != "0"


def test_the_register_of_identities_is_named_nowhere(service: Service, wire: Wire) -> None:
    person = claim(1)
    body = {"image": "x", "image_type": "BASE64", "id_card_number": person.number, "name": person.name}
    wire.call("personVerify", body)
    written = repr(entries(service, wire))
    assert "personVerify" in written
    assert person.number not in written
    assert person.name not in written


def test_the_chain_is_sound(service: Service, wire: Wire) -> None:
    wire.call("groupAdd", {"group_id": "g1"})
    wire.call("groupDelete", {"group_id": "g1"})
    newest = entries(service, wire)[-1]
    assert newest.draft.detail == {"remove_group": 1}
    (report,) = [each for each in service.audit.verify() if each.chain == newest.chain]
    assert (report.problems, report.entries) == ((), 2)
