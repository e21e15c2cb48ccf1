"""Which faces have to be scored exactly, so that every user's best one is among them."""

from __future__ import annotations

import numpy as np

from service.search.similarity import SLACK, nearest_of_users


def test_each_user_s_best_and_what_may_beat_it_by_rounding() -> None:
    users = np.array([3, 3, 3, 8, 8, 9])
    similarities = np.array([0.2, 0.5, 0.5 - SLACK, -0.4, -0.1, 0.9], np.float32)
    assert nearest_of_users(similarities, users, np.array([3, 8, 9])).tolist() == [1, 2, 4, 5]


def test_faces_of_a_user_need_not_lie_side_by_side() -> None:
    users = np.array([9, 3, 8, 3, 9])
    similarities = np.array([0.1, 0.7, 0.3, 0.2, 0.4], np.float32)
    assert nearest_of_users(similarities, users, np.array([3, 8, 9])).tolist() == [1, 2, 4]


def test_nobody() -> None:
    nothing = np.zeros(0, np.int64)
    assert nearest_of_users(np.zeros(0, np.float32), nothing, nothing).tolist() == []
