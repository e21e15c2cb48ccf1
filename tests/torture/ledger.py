"""Concurrent enrolment that keeps a book of what was acknowledged, and the audit that compares it with the server."""

from __future__ import annotations

import itertools
import random
import threading
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from service.storage import postmaster
from service.storage.embedded import DATABASE, SUPERUSER
from tests.fixtures.lived import patience
from tests.fixtures.pictures import Pictures
from tests.torture.caller import Caller

GROUP = "ledger"
TOKEN_GONE = 222209
"""Face tokens are kept in a table that a crash of the database empties; clients detect again."""
NO_MATCH, NO_USER = 222207, 223103
FACES = ("obama.jpg", "obama2.jpg", "biden.jpg")
WRITERS = 4
ANSWER_SECONDS = 120.0


@dataclass
class Ledger:
    """Who was enrolled and deleted, as far as the server said so."""

    caller: Caller
    pictures: Pictures
    enrolled: dict[str, str] = field(default_factory=dict)
    """Face token by user, of acknowledged enrolments."""
    deleted: set[str] = field(default_factory=set)
    unknown: set[str] = field(default_factory=set)
    """Users of whom a write was not acknowledged: anything goes, but wholly."""
    codes: Counter[int] = field(default_factory=Counter)
    checked: set[str] = field(default_factory=set)
    _tokens: list[str] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stopping: threading.Event = field(default_factory=threading.Event)

    def detect(self) -> None:
        """Tokens for the faces to enrol, from then on valid for an hour."""
        found = []
        for name in FACES:
            code, result = self.caller.call(
                "detect", {"image": self.pictures.base64(name), "image_type": "BASE64", "max_face_num": 1}
            )
            assert code == 0, (name, code)
            faces = result["face_list"]
            assert isinstance(faces, list)
            found.append(faces[0]["face_token"])
        self._tokens = found

    @contextmanager
    def writing(self, writers: int = WRITERS) -> Iterator[None]:
        """Enrol and delete in ``writers`` threads throughout the block."""
        self._stopping.clear()
        threads = [threading.Thread(target=self._write, args=(seed,)) for seed in range(writers)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stopping.set()
            for thread in threads:
                thread.join()

    def await_acknowledgements(self, number: int) -> None:
        """Return when ``number`` more writes have been acknowledged."""
        self.await_answers(number, {0})

    def await_answers(self, number: int, wanted: Collection[int]) -> None:
        """Return when ``number`` more writes have been answered with one of the codes."""

        def answered() -> int:
            return sum(self.codes[code] for code in wanted)

        goal = answered() + number
        assert any(answered() >= goal for _ in patience(ANSWER_SECONDS, 0.01)), f"not answered: {self.codes}"

    def _write(self, seed: int) -> None:
        choice = random.Random(seed)  # noqa: S311 (a plan that repeats)
        mine: list[str] = []
        with self.caller.connected():
            self._write_until_stopped(choice, mine)

    def _write_until_stopped(self, choice: random.Random, mine: list[str]) -> None:
        while not self._stopping.is_set():
            if len(mine) > 3 and choice.random() < 0.2:
                self._delete(mine.pop(choice.randrange(len(mine))))
            else:
                user, token = f"u{next(self._numbers)}", choice.choice(self._tokens)
                if self._enrol(user, token):
                    mine.append(user)

    def _enrol(self, user: str, token: str) -> bool:
        content = {"image": token, "image_type": "FACE_TOKEN", "group_id": GROUP, "user_id": user}
        code, result = self.caller.call("faceset/user/add", content)
        with self._lock:
            self.codes[code] += 1
            if code == 0:
                assert result["face_token"] == token
                self.enrolled[user] = token
            else:
                self.unknown.add(user)
        if code not in (0, TOKEN_GONE):
            self._stopping.wait(0.05)  # as a client would
        return code == 0

    def _delete(self, user: str) -> None:
        code, _ = self.caller.call("faceset/user/delete", {"group_id": GROUP, "user_id": user})
        with self._lock:
            self.codes[code] += 1
            self.enrolled.pop(user)
            (self.deleted if code == 0 else self.unknown).add(user)

    def audit(self, home: Path, *, everybody: bool = True) -> int:
        """Compare book, tables and searches; returns the number of faces. Fails with the first difference.

        ``everybody`` false: only users who were never looked at before are searched for; the tables are read whole.
        """
        stored = self._tables(home)
        lost = {user for user, token in self.enrolled.items() if stored.get(user) != token}
        assert lost == set(), f"acknowledged and lost: {sorted(lost)[:5]}"
        risen = self.deleted & stored.keys()
        assert risen == set(), f"deleted and there: {sorted(risen)[:5]}"
        strangers = stored.keys() - self.enrolled.keys() - self.unknown
        assert strangers == set()
        everyone = self.enrolled.keys() | self.deleted | self.unknown
        for user in everyone if everybody else everyone - self.checked:
            assert self._found(user) == (user in stored), f"{user}: search and table differ"
        self.checked |= everyone
        return len(stored)

    def _found(self, user: str) -> bool:
        content = {"image": self._tokens[0], "image_type": "FACE_TOKEN", "group_id_list": GROUP, "user_id": user}
        code, result = self.caller.call("search", {**content, "match_threshold": 0})
        assert code in (0, NO_MATCH, NO_USER), (user, code, self.caller.broken)
        if code:
            return False
        users = result["user_list"]
        assert isinstance(users, list)
        return [found["user_id"] for found in users] == [user]

    def _tables(self, home: Path) -> dict[str, str]:
        """Face token by user from the tables, which must hold together."""
        with psycopg.connect(database_address(home)) as connection:
            for question, meaning in _HALVES.items():
                row = connection.execute(question.encode()).fetchone()
                assert row == (0,), meaning
            ours = b"""SELECT u.name, f.token FROM users u JOIN faces f ON f.user_pk = u.pk
                JOIN apps a ON a.pk = u.app_pk WHERE a.app_id = %s"""
            return dict(connection.execute(ours, (self.caller.credentials.app_id,)))


_HALVES = {
    "SELECT count(*) FROM users u WHERE NOT EXISTS (SELECT FROM faces f WHERE f.user_pk = u.pk)": "a user without face",
    "SELECT count(*) FROM faces WHERE length(embedding) % 4 <> 0 OR length(embedding) < 256": "half an embedding",
    "SELECT count(*) FROM faces f JOIN users u ON u.pk = f.user_pk WHERE u.group_pk <> f.group_pk": "a face astray",
    "SELECT count(*) FROM change_heads h WHERE h.seq - h.floor <>"
    " (SELECT count(*) FROM changes c WHERE c.app_pk = h.app_pk)": "a gap in the change log",
    "SELECT count(*) FROM faces f WHERE NOT EXISTS (SELECT FROM changes c WHERE c.face_pk = f.pk)": "a face unlogged",
}


def database_address(home: Path) -> str:
    """Address of the embedded database of a running server."""
    found = postmaster.running(home / "postgres")
    assert found is not None, "the database does not run"
    return f"postgresql://{SUPERUSER}@/{DATABASE}?host={found.socket_dir}"
