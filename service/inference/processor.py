"""What this machine's processor can do, as far as networks are computed differently for it."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

CPU_INFO = Path("/proc/cpuinfo")

# Of a processor's flags those that kernels of networks are chosen by; an x86's "flags", an ARM's "Features".
_VECTOR_FLAGS = re.compile(r"(sse4|avx|amx|fma|f16c|asimd|sve|bf16|i8mm).*")
_NATIVE_INT8 = {"avx512_vnni", "avx_vnni", "avx_vnni_int8", "amx_int8"}
"""On x86; ARM's ``i8mm`` was not measured."""
_NATIVE_BFLOAT16 = {"avx512_bf16", "amx_bf16", "bf16", "svebf16"}


def instructions(file: Path = CPU_INFO) -> tuple[str, ...]:
    """The processor's vector instructions by the kernel's names, sorted; nothing where it does not tell them."""
    with suppress(OSError):
        for line in file.read_text(encoding="utf-8").splitlines():
            name, _, flags = line.partition(":")
            if name.strip() in {"flags", "Features"}:
                return tuple(sorted(flag for flag in flags.split() if _VECTOR_FLAGS.fullmatch(flag)))
    return ()


def computes_bfloat16(file: Path = CPU_INFO) -> bool:
    """Whether the processor has instructions for bfloat16, as far as the kernel tells."""
    return not _NATIVE_BFLOAT16.isdisjoint(instructions(file))


def computes_int8(file: Path = CPU_INFO) -> bool:
    """Whether the processor adds up products of 8-bit integers without rounding them, as far as the kernel tells.

    Without such instructions kernels add pairs of products in 16 bits, which overflow, and are hardly faster.
    """
    return not _NATIVE_INT8.isdisjoint(instructions(file))
