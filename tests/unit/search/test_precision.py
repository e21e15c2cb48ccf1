"""Half precision as numpy makes it."""

from __future__ import annotations

import numpy as np
import pytest

from service.search.precision import halves, singles


@pytest.mark.parametrize("shape", [(0, 4), (1, 4), (7,), (33, 192), (3, 5, 2)])
def test_numbers_of_any_shape(shape: tuple[int, ...]) -> None:
    numbers = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    made = halves(numbers)
    assert made.dtype == np.float16
    assert made.tobytes() == numbers.astype(np.float16).tobytes()
    assert made.shape == shape
    assert singles(made).tobytes() == numbers.astype(np.float16).astype(np.float32).tobytes()
    assert singles(made).shape == shape


def test_every_half_and_what_lies_between_two() -> None:
    every = np.arange(2**16, dtype=np.uint16).view(np.float16)
    finite = every[np.isfinite(every)]
    assert singles(finite).tobytes() == finite.astype(np.float32).tobytes()
    ordered = np.unique(finite.astype(np.float32))
    middles = (ordered[1:] + ordered[:-1]) / 2
    between = np.concatenate([middles, np.nextafter(middles, np.float32(9e9)), np.nextafter(middles, np.float32(-9e9))])
    assert halves(between).tobytes() == between.astype(np.float16).tobytes()


def test_views_that_are_not_contiguous() -> None:
    numbers = np.random.default_rng(1).standard_normal((20, 30)).astype(np.float32)[::2, ::3]
    assert halves(numbers).tobytes() == numbers.astype(np.float16).tobytes()
    assert singles(halves(numbers)[:, ::2]).tobytes() == numbers.astype(np.float16)[:, ::2].astype(np.float32).tobytes()
