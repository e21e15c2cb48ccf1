"""From the ``device`` setting to what computes networks; never a silent fallback."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import onnxruntime

from service.inference.processor import CPU_INFO, computes_bfloat16, computes_int8, instructions
from service.inference.session import CPU, OPENVINO, OPENVINO_BF16, OPENVINO_INT8, DeviceUnavailable, Provider

__all__ = [
    "BFLOAT16",
    "DEVICES",
    "LOWER",
    "DeviceUnavailable",
    "lower_precisions",
    "openvino_advice",
    "openvino_capabilities",
    "openvino_installed",
    "providers_for",
    "runs_openvino",
]

LOWER = {"bf16": OPENVINO_BF16, "int8": OPENVINO_INT8}
"""Precisions below 32 bits, the higher one first, and what computes them."""
BFLOAT16 = "BF16"
"""OpenVINO's name of the precision among a processor's capabilities."""


@dataclass(frozen=True, slots=True)
class _Device:
    """Execution providers, the wanted one first, and the way to have them."""

    providers: tuple[str, ...]
    way: str


_GPU_WAY = "replace the package onnxruntime by onnxruntime-gpu of the same version (docs/performance.md)"
_DEVICES = {
    "auto": _Device((CPU,), "install onnxruntime"),
    "cpu": _Device((CPU,), "install onnxruntime"),
    "openvino": _Device((OPENVINO,), "pip install 'aipface-server[openvino]'"),
    "cuda": _Device(("CUDAExecutionProvider",), _GPU_WAY),
    # What TensorRT cannot compute stays on the GPU.
    "tensorrt": _Device(("TensorrtExecutionProvider", "CUDAExecutionProvider"), f"install TensorRT and {_GPU_WAY}"),
}
DEVICES = tuple(_DEVICES)


def openvino_installed() -> bool:
    """Whether the extra ``openvino`` is there; nothing is loaded to find out."""
    return importlib.util.find_spec("openvino") is not None


def runs_openvino(file: Path = CPU_INFO) -> bool:
    """Whether the extra ``openvino`` is there, and a processor that may be expected to run it.

    That is one with AVX2, or none of the x86 kind; where nothing is known it is tried.
    """
    known = instructions(file)
    return openvino_installed() and (not known or "avx2" in known or "asimd" in known)


def openvino_capabilities() -> frozenset[str]:
    """Precisions that OpenVINO computes on this processor by its own account; none where it is not installed.

    It counts ``BF16`` among them on every processor with AVX-512, also where it has to be emulated, slowly.
    """
    if not openvino_installed():
        return frozenset()
    from service.inference.quiet_openvino import openvino  # noqa: PLC0415 (an extra, and slow to load)

    return frozenset(openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))


def lower_precisions(*, emulated: bool = False) -> frozenset[str]:
    """Those of ``LOWER`` that OpenVINO computes here by instructions made for them, as far as can be told.

    With ``emulated`` bfloat16 also on processors with AVX-512 that have none for it. Not so 8 bits, which OpenVINO
    computes on any processor, but neither fast nor exactly. It is not loaded where there is nothing to ask it for.
    """
    native = {"bf16": computes_bfloat16(), "int8": computes_int8()}
    if not runs_openvino() or not (emulated or any(native.values())):
        return frozenset()
    can = openvino_capabilities()
    able = {"bf16": BFLOAT16 in can and (emulated or native["bf16"]), "int8": bool(can) and native["int8"]}
    return frozenset(name for name, yes in able.items() if yes)


def openvino_advice(file: Path = CPU_INFO) -> str:
    """What to tell who runs this, where the extra ``openvino`` is missing on a processor that would gain most by it."""
    if openvino_installed() or not (computes_bfloat16(file) or computes_int8(file)):
        return ""
    return (
        "processors with bfloat16 or with 8-bit products (VNNI) measured faster by OpenVINO: "
        "pip install 'aipface-server[openvino]'"
    )


def providers_for(device: str) -> list[Provider]:
    """Providers for one of ``DEVICES``; ``auto`` without a measurement is ``cpu``.

    Raises ``DeviceUnavailable`` with the way out.
    """
    wanted = _DEVICES[device]
    available = {*onnxruntime.get_available_providers(), *([OPENVINO] if openvino_installed() else [])}
    if not available.issuperset(wanted.providers):
        raise DeviceUnavailable(
            f"device {device} needs {' and '.join(wanted.providers)}, and here are {', '.join(sorted(available))}: "
            f"{wanted.way}, or set AIPFACE_DEVICE=cpu"
        )
    return list(wanted.providers)
