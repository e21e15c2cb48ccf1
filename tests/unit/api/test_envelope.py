from __future__ import annotations

import pytest

from service.api.envelope import SCORE_DIGITS, Stamp, dump, rounded


def test_stamps_are_unique_and_fit_a_signed_64_bit_integer() -> None:
    stamps = [Stamp.now() for _ in range(1000)]
    assert len({stamp.log_id for stamp in stamps}) == 1000
    assert all(0 < stamp.log_id < 2**63 for stamp in stamps)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.0, b"1"),
        (0.999, b"1"),
        (0.5, b"0.5"),
        (117.126, b"117.13"),
        (-0.001, b"0"),
        (-13.446, b"-13.45"),
        (100, b"100"),
    ],
)
def test_numbers_are_written_as_the_cloud_does(value: float, text: bytes) -> None:
    assert dump(rounded(value)) == text


def test_scores_keep_more_decimals_and_a_hundred_is_exact() -> None:
    assert dump(rounded(69.856849670412, SCORE_DIGITS)) == b"69.85684967"
    assert dump(rounded(100.0, SCORE_DIGITS)) == b"100"
    assert rounded(99.99, SCORE_DIGITS) < 100


def test_json_is_compact_and_keeps_chinese() -> None:
    assert dump({"b": [1, "人"], "a": None}) == '{"b":[1,"人"],"a":null}'.encode()
