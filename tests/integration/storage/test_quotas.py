"""Quotas shared by several processes: here several ``Quotas``, each with connections of its own."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psycopg
import pytest

from service.errors import (
    AppUnavailable,
    DailyQuotaExceeded,
    DatabaseUnavailable,
    FaceNotFound,
    QuotaExceeded,
    RateExceeded,
    TotalQuotaExceeded,
)
from service.library.quotas import Quotas
from service.storage.engine import Database
from service.storage.urls import driver_address
from service.values import App, Limits
from tests.fixtures.library import new_app

Processes = list[Quotas]

ZONE = "UTC"


@contextmanager
def processes(url: str, count: int) -> Iterator[Processes]:
    """Several processes' worth of quotas; their threads are not started, so that tests say when they settle."""
    with contextlib.ExitStack() as stack:
        made = []
        for _ in range(count):
            database = Database(url)
            stack.callback(database.close)
            made.append(Quotas(database, zone=ZONE))
        yield made


def limited(database: Database, quotas: Quotas, limits: Limits) -> App:
    """An app with quotas."""
    return changed(database, quotas, new_app(database), limits)


def changed(database: Database, quotas: Quotas, app: App, limits: Limits) -> App:
    """An app with other quotas than it had."""
    quotas.set_limits(app, limits)
    with database.read() as reader:
        found = reader.apps.by_app_id(app.app_id)
    assert found is not None
    assert found.limits == limits
    return found


def ask(quotas: Quotas, app: App) -> str:
    """One request; what became of it."""
    try:
        with quotas.admitted(app, "detect"):
            return "answered"
    except QuotaExceeded as error:
        return type(error).__name__


def many(several: Processes, app: App, each: int, threads: int = 4) -> Counter[str]:
    """Each process asks so often, in several threads."""

    def work(quotas: Quotas) -> list[str]:
        return [ask(quotas, app) for _ in range(each // threads)]

    with ThreadPoolExecutor(len(several) * threads) as pool:
        asked = [pool.submit(work, quotas) for quotas in several for _ in range(threads)]
        return Counter(answer for future in asked for answer in future.result())


def test_an_app_without_limits_costs_nothing_and_is_counted(app: App, database_url: str) -> None:
    with processes(database_url, 2) as several:
        assert many(several, app, 40) == {"answered": 80}
        with pytest.raises(FaceNotFound), several[0].admitted(app, "match"):
            raise FaceNotFound
        for quotas in several:
            quotas.flush()
            quotas.flush()  # nothing is counted twice
        usage = several[0].usage(app).calls
        counts = {each.call: (each.requests, each.errors, each.refused) for each in usage}
        assert counts == {"detect": (80, 0, 0), "match": (1, 1, 0)}


@pytest.mark.parametrize(
    ("limits", "refusal"),
    [
        (Limits(daily=500), DailyQuotaExceeded),
        (Limits(total=500), TotalQuotaExceeded),
        (Limits(daily=500, total=501), DailyQuotaExceeded),
        (Limits(daily=501, total=500), TotalQuotaExceeded),
    ],
)
def test_a_budget_is_shared_to_the_last_request(
    database: Database, database_url: str, limits: Limits, refusal: type[QuotaExceeded]
) -> None:
    with processes(database_url, 3) as several:
        app = limited(database, several[0], limits)
        answers = many(several, app, 400)
        for quotas in several:  # what one held and did not use is given back, and another may have it
            quotas.settle(idle_seconds=-1)
        time.sleep(0.11)
        answers += many(several[:1], app, 400)
        assert answers["answered"] == 500
        assert set(answers) == {"answered", refusal.__name__}
        for quotas in several:
            quotas.flush()
        (usage,) = several[0].usage(app).calls
        assert (usage.requests, usage.refused) == (500, 1100)
        assert several[0].usage(app).standing.total_taken == 500


def test_a_budget_counts_what_was_asked_before_it_was_set(database: Database, app: App, database_url: str) -> None:
    with processes(database_url, 1) as (quotas,):
        many([quotas], app, 8)
        quotas.flush()
        quotas.set_limits(app, Limits(daily=12))
        with database.read() as reader:
            again = reader.apps.by_app_id(app.app_id)
        assert again is not None
        assert many([quotas], again, 8) == {"answered": 4, "DailyQuotaExceeded": 4}


def test_a_raised_limit_is_granted_and_a_removed_one_forgotten(database: Database, database_url: str) -> None:
    with processes(database_url, 1) as (quotas,):
        app = limited(database, quotas, Limits(total=4))
        assert many([quotas], app, 8)["answered"] == 4
        for limits, answered in ((Limits(total=6), 2), (Limits(), 8)):
            found = changed(database, quotas, app, limits)
            time.sleep(0.11)
            assert many([quotas], found, 8)["answered"] == answered


@pytest.mark.parametrize(
    ("before", "after"), [(Limits(daily=9999), Limits(daily=203)), (Limits(total=9999), Limits(total=203))]
)
def test_what_a_process_holds_of_a_budget_is_not_spent_under_a_lower_one(
    database: Database, database_url: str, before: Limits, after: Limits
) -> None:
    with processes(database_url, 1) as (quotas,):
        app = limited(database, quotas, before)
        assert many([quotas], app, 200)["answered"] == 200
        lower = changed(database, quotas, app, after)
        assert many([quotas], lower, 40)["answered"] == 3
        quotas.settle(idle_seconds=-1)
        assert quotas.usage(lower).standing.total_taken == 203


def test_a_new_day_begins_anew(database: Database) -> None:
    """The second zone's clocks are 25 hours ahead of the first one's: it is always a later day there."""
    today, tomorrow = (Quotas(database, zone=zone) for zone in ("Pacific/Pago_Pago", "Pacific/Kiritimati"))
    app = limited(database, today, Limits(daily=3, total=5))
    assert many([today], app, 8) == {"answered": 3, "DailyQuotaExceeded": 5}
    assert many([tomorrow], app, 8) == {"answered": 2, "TotalQuotaExceeded": 6}


def test_no_second_lets_more_through_than_the_limit(database: Database, database_url: str) -> None:
    """The database's own clock says which second a request fell into: grants are told by it."""
    with processes(database_url, 3) as several:
        app = limited(database, several[0], Limits(qps=20))
        begun = time.time()
        answers: Counter[str] = Counter()
        while time.time() - begun < 2:
            answers += many(several, app, 40)
        seconds = int(time.time()) - int(begun) + 1
        assert 20 <= answers["answered"] <= 20 * seconds
        assert set(answers) == {"answered", "RateExceeded"}


def test_one_busy_process_gets_the_whole_rate(database: Database, database_url: str) -> None:
    with processes(database_url, 2) as (busy, idle):
        app = limited(database, busy, Limits(qps=50))
        assert ask(idle, app) == "answered"
        time.sleep(1 - time.time() % 1)  # the database's clock is this machine's
        begun = int(time.time())
        answered = sum(ask(busy, app) == "answered" for _ in range(200))
        assert int(time.time()) > begun or answered == 50


def at_once(several: Processes, app: App, wanted: int) -> tuple[int, Callable[[], None]]:
    """Enter requests in turn and stay inside; returns how many got in, and what ends them."""
    stack = contextlib.ExitStack()
    inside = 0
    for number in range(wanted):
        try:
            stack.enter_context(several[number % len(several)].admitted(app, "detect"))
        except RateExceeded:
            continue
        inside += 1
    return inside, stack.close


def test_no_more_at_once_than_the_limit(database: Database, database_url: str) -> None:
    with processes(database_url, 3) as several:
        app = limited(database, several[0], Limits(concurrent=7))
        inside, end = at_once(several, app, 30)
        assert inside == 7
        end()
        for quotas in several:
            quotas.settle()
            quotas.settle()
        time.sleep(0.11)
        inside, end = at_once(several[:1], app, 10)  # slots that stand empty went back, and one may have them all
        assert inside == 7
        end()
        several[0].stop()
        inside, end = at_once(several[1:2], app, 10)
        assert inside == 7
        end()


def test_slots_that_processes_hold_are_not_used_under_a_lower_limit(database: Database, database_url: str) -> None:
    with processes(database_url, 2) as several:
        app = limited(database, several[0], Limits(concurrent=8))
        inside, end = at_once(several, app, 24)
        assert inside == 8
        lower = changed(database, several[0], app, Limits(concurrent=2))
        assert [ask(quotas, lower) for quotas in several] == ["RateExceeded"] * 2
        end()
        for _ in range(3):  # the processes share what there is now, and go on doing so
            time.sleep(0.11)
            inside, end = at_once(several, lower, 24)
            assert inside == 2
            end()
        higher = changed(database, several[0], app, Limits(concurrent=5))
        time.sleep(0.11)
        inside, end = at_once(several, higher, 24)
        assert inside == 5
        end()


def test_slots_of_a_process_that_lives_are_its_own(database: Database, database_url: str) -> None:
    with processes(database_url, 2) as (one, other):
        app = limited(database, one, Limits(concurrent=2))
        inside, end = at_once([one], app, 5)
        assert inside == 2
        one.settle()
        one.settle()
        assert ask(other, app) == "RateExceeded"
        end()


@pytest.mark.parametrize("most", [1, 2])
def test_a_client_that_asks_one_process_after_the_other_is_not_refused(
    database: Database, database_url: str, most: int
) -> None:
    with processes(database_url, 3) as several:
        app = limited(database, several[0], Limits(concurrent=most))
        assert [ask(quotas, app) for quotas in several * 2] == ["answered"] * 6
        with contextlib.ExitStack() as inside:
            for quotas in several[:most]:
                inside.enter_context(quotas.admitted(app, "detect"))
            assert ask(several[2], app) == "RateExceeded"


def test_a_slot_that_cannot_be_given_back_costs_no_answer(database: Database, database_url: str) -> None:
    with contextlib.closing(Database(database_url, lock_seconds=0.01)) as impatient:
        quotas = Quotas(impatient)
        app = limited(database, quotas, Limits(concurrent=1))
        with psycopg.connect(driver_address(database_url)) as other, quotas.admitted(app, "detect"):
            other.execute("LOCK TABLE quota_slots")
        assert [ask(quotas, app), ask(Quotas(database), app)] == ["answered"] * 2


def test_what_is_refused_takes_nothing(database: Database, database_url: str) -> None:
    with processes(database_url, 1) as (quotas,):
        app = limited(database, quotas, Limits(qps=1000, daily=1, concurrent=1))
        with quotas.admitted(app, "detect"):
            assert ask(quotas, app) == "RateExceeded"
        assert ask(quotas, app) == "DailyQuotaExceeded"
        quotas.settle(idle_seconds=-1)
        assert quotas.usage(app).standing.day_taken == 1


def test_without_the_database_nobody_knows_what_is_left(app: App) -> None:
    nowhere = Database("postgresql://nobody@127.0.0.1:1/nothing")
    quotas = Quotas(nowhere)
    with quotas.admitted(app, "detect"):
        pass
    limited_app = App(app.pk, app.app_id, app.name, app.api_key, app.epoch, None, limits=Limits(qps=1))
    with pytest.raises(DatabaseUnavailable), quotas.admitted(limited_app, "detect"):
        pass
    with pytest.raises(DatabaseUnavailable):
        quotas.flush()
    with pytest.raises(DatabaseUnavailable):
        quotas.flush()  # the counts were kept
    nowhere.close()


def test_apps_that_are_gone(database: Database, app: App, database_url: str) -> None:
    other = new_app(database)
    with processes(database_url, 1) as (quotas,):
        for each in (app, other):
            ask(quotas, each)
        with database.admin() as work:
            work.apps.delete(app.pk)
        quotas.flush()  # the other's counts are not lost over it
        assert [each.requests for each in quotas.usage(other).calls] == [1]
        for use in (lambda: quotas.usage(app), lambda: quotas.set_limits(app, Limits(qps=1))):
            with pytest.raises(AppUnavailable):
                use()


def test_the_upkeep_writes_down_and_gives_back(database: Database, database_url: str) -> None:
    with processes(database_url, 1) as (quotas,):
        app = limited(database, quotas, Limits(total=100, concurrent=5))
        quotas.start()
        assert many([quotas], app, 20)["answered"] == 20
        quotas.stop()
        usage = quotas.usage(app)
        assert usage.standing.total_taken == 20
        assert [each.requests for each in usage.calls] == [20]
