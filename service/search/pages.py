"""Huge pages for large memory that is read at random places.

A short list touches a thousand places of a gigabyte. With pages of 4 KiB each of them first costs a walk through the
page tables, in a virtual machine through two sets of them; pages of 2 MiB the processor knows by heart.
"""

from __future__ import annotations

import ctypes
import sys

HUGE_PAGE = 2**21
_MADV_HUGEPAGE, _MADV_COLLAPSE = 14, 25
"""Of ``linux/mman.h``; the second, since Linux 6.1, does at once what the first only allows."""


def prefer_huge(address: int, nbytes: int) -> None:
    """Ask the kernel to keep the memory in huge pages; content stays. Where that cannot be had nothing happens."""
    if sys.platform != "linux":
        return
    start = -(-address // HUGE_PAGE) * HUGE_PAGE
    length = (address + nbytes) // HUGE_PAGE * HUGE_PAGE - start
    if length > 0:
        advise = ctypes.CDLL(None).madvise
        for advice in (_MADV_HUGEPAGE, _MADV_COLLAPSE):
            advise(ctypes.c_void_p(start), ctypes.c_size_t(length), ctypes.c_int(advice))
