from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from service.capture.rules import TAG_LEVELS, Facts, Risk, RiskLevel, RiskLimits, RiskTag, judge
from tests.fixtures.places import ROOT

LIMITS = RiskLimits(
    people=3, failures=4, clock=timedelta(seconds=60), window=timedelta(days=1), history=timedelta(days=30)
)
CLEAN = Facts(people=1, failures=0, clock=0.0, picture_repeated=False, picture_elsewhere=False, known=True)


def test_without_a_tag_it_counts_whether_the_device_is_known() -> None:
    assert judge(CLEAN, LIMITS) == Risk(RiskLevel.NORMAL, ())
    assert judge(replace(CLEAN, known=False), LIMITS) == Risk(RiskLevel.ORDINARY, ())


@pytest.mark.parametrize(
    ("below", "reached", "tag"),
    [
        ({"people": 2}, {"people": 3}, RiskTag.MANY_PEOPLE),
        ({"failures": 3}, {"failures": 4}, RiskTag.MANY_FAILURES),
        ({"clock": 60.0}, {"clock": 60.1}, RiskTag.CLOCK_OFF),
        ({"clock": -60.0}, {"clock": -60.1}, RiskTag.CLOCK_OFF),
        ({}, {"picture_repeated": True}, RiskTag.PICTURE_REPEATED),
        ({}, {"picture_elsewhere": True, "picture_repeated": True}, RiskTag.PICTURE_REPLAYED),
    ],
)
def test_each_rule_begins_at_its_limit(below: dict[str, object], reached: dict[str, object], tag: RiskTag) -> None:
    assert judge(replace(CLEAN, **below), LIMITS).tags == ()  # type: ignore[arg-type]
    assert judge(replace(CLEAN, **reached), LIMITS) == Risk(TAG_LEVELS[tag], (tag,))  # type: ignore[arg-type]


def test_two_suspicions_make_a_high_risk() -> None:
    facts = replace(CLEAN, people=3, failures=4)
    assert judge(facts, LIMITS) == Risk(RiskLevel.HIGH, (RiskTag.MANY_PEOPLE, RiskTag.MANY_FAILURES))


def test_small_things_do_not_add_up() -> None:
    facts = replace(CLEAN, clock=90.0, picture_repeated=True)
    assert judge(facts, LIMITS) == Risk(RiskLevel.ORDINARY, (RiskTag.PICTURE_REPEATED, RiskTag.CLOCK_OFF))
    assert judge(replace(facts, failures=4), LIMITS).level is RiskLevel.SUSPECT


@pytest.mark.parametrize("tag", RiskTag)
def test_every_tag_is_documented_with_its_level(tag: RiskTag) -> None:
    text = (ROOT / "docs" / "capture-envelope.md").read_text(encoding="utf-8")
    assert f"| `{tag.value}` | {TAG_LEVELS[tag].value} |" in text
