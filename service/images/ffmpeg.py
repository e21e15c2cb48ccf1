"""FFmpeg as this process has it: silent, and bounded in what it allocates at once.

Whoever reads with it calls :func:`restrain` before.
"""

from __future__ import annotations

import ctypes

import av.logging
import av.packet

MOST_BYTES_AT_ONCE = 80 * 2**20
"""Of one allocation: the largest GIF that a call takes (16 million pixels of 4 bytes) needs almost as much.

A table of an MP4 may say "two billion samples, all alike" in twenty bytes, and FFmpeg writes out every one of them:
2 KB became 4 GB. Where an allocation is refused, it refuses the file. No option of its demuxers bounds this.
"""


def restrain() -> None:
    """Make FFmpeg silent and bound what it allocates, in the whole process. Twice does no harm.

    Source: ``av_max_alloc`` of libavutil's ``mem.h``, which PyAV does not offer. It is found in the very library that
    PyAV's modules are linked to.
    """
    av.logging.set_level(None)
    libavutil = ctypes.CDLL(av.packet.__file__)
    libavutil.av_max_alloc.argtypes = [ctypes.c_size_t]
    libavutil.av_max_alloc.restype = None
    libavutil.av_max_alloc(MOST_BYTES_AT_ONCE)
