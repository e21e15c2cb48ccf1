"""Where on its thread's stack a network is computed.

Compiled code keeps a few values of its innermost loops on the stack. Where one of them lies across the boundary of two
pages, every access to it is slow, and OpenVINO's recognisers take half as long again. Which distance from a page's
start that happens at depends on OpenVINO's build and on the network; which distance a call has, on the functions above
it: a thread's stack begins at a page, so one kind of request always has the same. It was ``search`` on a processor of
Intel (docs/decisions/0032-place-on-the-stack.md).

So networks are computed at a distance that was measured to be good: the stack is filled up to there with frames of
calls that do nothing else.
"""

from __future__ import annotations

import ctypes
import platform
import time
from collections.abc import Callable
from contextvars import copy_context
from functools import cache, partial
from typing import TypeVar

R = TypeVar("R")

PAGE = 4096
"""Bytes; where pages are larger, what is good in a page of this size is good in those."""

CANDIDATES = 8
ROUNDS = 3

_CONTEXT_BYTES = 4096
"""More than any ``ucontext_t`` has."""
_STACK_POINTER = 160
"""Where RSP lies in it, on x86-64: ``uc_mcontext.gregs[REG_RSP]`` of <sys/ucontext.h>."""
_MOST_LEVELS = 40
_WARMING = 3
"""Calls after which the interpreter has settled how it makes them."""


class StackPlace:
    """Calls functions at one distance from the start of a page, where the system tells what that is."""

    def __init__(self, distance: int) -> None:
        """``distance`` in bytes, 0 to ``PAGE``."""
        self._distance = distance

    def __call__(self, function: Callable[[], R]) -> R:
        """What ``function`` returns or raises."""
        pointer = stack_pointer()
        levels = None if pointer is None else _levels().get((pointer - self._distance) % PAGE)
        return function() if levels is None else _deeper(*levels, function)


def best_place(work: Callable[[], object]) -> StackPlace:
    """Where ``work`` was fastest of some places all over a page; takes ``CANDIDATES * ROUNDS`` times its time."""
    places = [StackPlace(number * PAGE // CANDIDATES) for number in range(CANDIDATES)]
    if stack_pointer() is None:
        return places[0]
    least = dict.fromkeys(places, float("inf"))
    for _ in range(ROUNDS):
        for place in places:
            begun = time.perf_counter()
            place(work)
            least[place] = min(least[place], time.perf_counter() - begun)
    return min(places, key=lambda place: least[place])


def stack_pointer() -> int | None:
    """Address of the end of the calling thread's stack, the same distance below every caller; ``None`` if unknown."""
    context_of = _getcontext()
    if context_of is None:
        return None
    context = ctypes.create_string_buffer(_CONTEXT_BYTES)
    context_of(context)
    return int.from_bytes(context.raw[_STACK_POINTER : _STACK_POINTER + 8], "little")


@cache
def _getcontext() -> Callable[[object], object] | None:
    """The C library's, called under Python's lock: to let go of it would take longer than the call."""
    if platform.machine() not in {"x86_64", "AMD64"} or platform.libc_ver()[0] != "glibc":
        return None
    function: Callable[[object], object] = ctypes.PyDLL(None).getcontext
    return function


def _deeper(some: int, others: int, function: Callable[[], R]) -> R:
    """Call ``function`` below so many frames of two sizes. Calls that go through C take room on the stack."""
    if some:
        return partial(_deeper, some - 1, others, function)()
    if others:
        result: R = copy_context().run(_deeper, 0, others - 1, function)  # type: ignore[arg-type]
        return result
    return function()


@cache
def _levels() -> dict[int, tuple[int, int]]:
    """How many frames of each size move the end of the stack by how many bytes, in pages' remainders."""
    above = stack_pointer()
    found: dict[int, tuple[int, int]] = {}
    if above is None:
        return found
    for count in range(_MOST_LEVELS):
        for others in range(count + 1):
            levels = (count - others, others)
            for _ in range(_WARMING):
                below = _deeper(*levels, stack_pointer)
            if below is not None:
                found.setdefault((above - below) % PAGE, levels)
    return found
