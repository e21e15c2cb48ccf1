"""Presenters that several generations of the API share: the last step of a ``Call``, from its outcome to the answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

R = TypeVar("R")


def outcome_only(present: Callable[[R], object]) -> Callable[[object, R], object]:
    """Make a presenter of a function that needs the outcome and not the request."""
    return lambda _request, outcome: present(outcome)


def nothing(_request: object, _outcome: object) -> None:
    """The result of a call that returns nothing: it only does something."""
