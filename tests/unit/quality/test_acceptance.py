"""Quality and liveness control: the tables, the order of the checks, what each failure is called."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import (
    FaceCovered,
    FaceFuzzy,
    FaceIncomplete,
    FaceLightPoor,
    FaceTooSmall,
    LivenessFailed,
    NoseCovered,
    PoseTooLarge,
    ServiceError,
    SyntheticPicture,
)
from service.inference.occlusion import Occlusion
from service.inference.quality import Quality
from service.intake.acceptance import (
    COVERED,
    LIVENESS_LIMITS,
    PARTS,
    SPOOFING_LIMITS,
    check_liveness,
    check_quality,
    check_spoofing,
)
from service.intake.quality_limits import QUALITY_LIMITS, QualityLimits
from service.values import Angles, Control, Location

FREE = Occlusion(0, 0, 0, 0, 0, 0, 0)
GOOD = Quality(occlusion=FREE, blur=0.01, illumination=140, completeness=1)
PLACE = Location(left=10, top=10, width=120, height=130)
FRONTAL = Angles(yaw=1, pitch=-2, roll=3)

CHECKED = [Control.LOW, Control.NORMAL, Control.HIGH]


def limits_of(control: Control) -> QualityLimits:
    limits = QUALITY_LIMITS[control]
    assert limits is not None
    return limits


def failure(control: Control, quality: Quality, location: Location = PLACE, angles: Angles = FRONTAL) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        check_quality(control, quality, location, angles)
    return caught.value


def test_normal_holds_the_documents_limits() -> None:
    limits = limits_of(Control.NORMAL)
    assert limits.occlusion == Occlusion(0.6, 0.6, 0.7, 0.7, 0.8, 0.8, 0.6)
    assert (limits.blur, limits.illumination, limits.angle, limits.complete) == (0.7, 40, 20, True)


def test_each_level_asks_at_least_what_the_level_below_asks() -> None:
    for easier, harder in ((Control.LOW, Control.NORMAL), (Control.NORMAL, Control.HIGH)):
        below, above = limits_of(easier), limits_of(harder)
        assert all(getattr(above.occlusion, part) <= getattr(below.occlusion, part) for part in PARTS)
        assert above.blur <= below.blur
        assert above.illumination >= below.illumination
        assert above.angle <= below.angle
        assert above.side >= below.side
        assert above.complete >= below.complete


def test_no_control_lets_everything_pass() -> None:
    worst = Quality(occlusion=Occlusion(1, 1, 1, 1, 1, 1, 1), blur=1, illumination=0, completeness=0)
    check_quality(Control.NONE, worst, Location(0, 0, 1, 1), Angles(90, 90, 180))
    check_liveness(Control.NONE, 0)


@pytest.mark.parametrize("control", CHECKED)
def test_a_good_face_passes(control: Control) -> None:
    check_quality(control, GOOD, PLACE, FRONTAL)
    check_liveness(control, 0.95)


@pytest.mark.parametrize("control", CHECKED)
@pytest.mark.parametrize("part", PARTS)
def test_a_hidden_part_is_named(control: Control, part: str) -> None:
    limit = getattr(limits_of(control).occlusion, part)
    caught = failure(control, replace(GOOD, occlusion=replace(FREE, **{part: limit})))
    assert type(caught) is COVERED[part]
    check_quality(control, replace(GOOD, occlusion=replace(FREE, **{part: limit - 0.01})), PLACE, FRONTAL)


def test_several_hidden_parts_are_told_by_the_first_in_wire_order_and_all_of_them_as_one() -> None:
    lower_half = replace(FREE, nose=0.9, mouth=1.0, chin_contour=1.0)
    assert type(failure(Control.NORMAL, replace(GOOD, occlusion=lower_half))) is NoseCovered
    everything = Occlusion(1, 1, 1, 1, 1, 1, 1)
    assert type(failure(Control.NORMAL, replace(GOOD, occlusion=everything))) is FaceCovered


def test_every_part_has_an_error_of_its_own() -> None:
    assert tuple(COVERED) == PARTS
    assert len(set(COVERED.values())) == len(PARTS)


def test_the_grossest_defect_is_told_first() -> None:
    bad = Quality(occlusion=Occlusion(1, 1, 1, 1, 1, 1, 1), blur=1, illumination=0, completeness=0)
    tiny, turned = Location(0, 0, 10, 10), Angles(yaw=50, pitch=50, roll=50)
    assert isinstance(failure(Control.NORMAL, bad, tiny, turned), FaceIncomplete)
    bad = replace(bad, completeness=1)
    assert isinstance(failure(Control.NORMAL, bad, tiny, turned), FaceTooSmall)
    pose = failure(Control.NORMAL, bad, PLACE, turned)
    assert isinstance(pose, PoseTooLarge)
    assert str(pose) == "yaw"
    assert isinstance(failure(Control.NORMAL, bad), FaceLightPoor)
    bad = replace(bad, illumination=140)
    assert isinstance(failure(Control.NORMAL, bad), FaceFuzzy)
    assert isinstance(failure(Control.NORMAL, replace(bad, blur=0)), FaceCovered)


@pytest.mark.parametrize(("axis", "angles"), [("pitch", Angles(0, -20, 0)), ("roll", Angles(0, 0, 20))])
def test_every_axis_counts_in_both_directions(axis: str, angles: Angles) -> None:
    caught = failure(Control.NORMAL, GOOD, angles=angles)
    assert isinstance(caught, PoseTooLarge)
    assert str(caught) == axis


def test_spoofing_control_is_the_strictest_when_it_is_low() -> None:
    limits = [SPOOFING_LIMITS[control] or 0.0 for control in CHECKED]
    assert limits == sorted(limits)
    for control, limit in SPOOFING_LIMITS.items():
        if limit is None:
            check_spoofing(control, 1.0)
            continue
        check_spoofing(control, limit)
        with pytest.raises(SyntheticPicture):
            check_spoofing(control, limit + 1e-6)


def test_liveness_levels_are_the_thresholds_that_the_api_tells() -> None:
    expected = {Control.NONE: None, Control.LOW: 0.05, Control.NORMAL: 0.3, Control.HIGH: 0.9}
    assert expected == LIVENESS_LIMITS
    check_liveness(Control.NORMAL, 0.3)
    with pytest.raises(LivenessFailed):
        check_liveness(Control.NORMAL, 0.2999)


NAN = float("nan")


@pytest.mark.parametrize("control", CHECKED)
def test_what_is_no_number_passes_nothing(control: Control) -> None:
    with pytest.raises(LivenessFailed):
        check_liveness(control, NAN)
    with pytest.raises(SyntheticPicture):
        check_spoofing(control, NAN)
    assert isinstance(failure(control, replace(GOOD, illumination=NAN)), FaceLightPoor)
    assert isinstance(failure(control, replace(GOOD, blur=NAN)), FaceFuzzy)
    assert isinstance(failure(control, GOOD, replace(PLACE, width=NAN)), FaceTooSmall)
    assert isinstance(failure(control, GOOD, replace(PLACE, height=NAN)), FaceTooSmall)
    assert isinstance(failure(control, GOOD, angles=replace(FRONTAL, roll=NAN)), PoseTooLarge)
    assert isinstance(failure(control, replace(GOOD, occlusion=replace(FREE, nose=NAN))), NoseCovered)


@given(st.floats(0, 1), st.sampled_from(CHECKED))
def test_a_face_that_passes_a_level_passes_the_levels_below(blur: float, control: Control) -> None:
    quality = replace(GOOD, blur=blur)
    try:
        check_quality(control, quality, PLACE, FRONTAL)
    except FaceFuzzy:
        return
    for easier in CHECKED[: CHECKED.index(control)]:
        check_quality(easier, quality, PLACE, FRONTAL)
