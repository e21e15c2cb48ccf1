"""From the ``device`` setting to what computes networks; never a silent fallback."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

import onnxruntime

from service.inference.session import OPENVINO, DeviceUnavailable, Provider

__all__ = ["DEVICES", "DeviceUnavailable", "openvino_installed", "providers_for"]

_CPU = "CPUExecutionProvider"


@dataclass(frozen=True, slots=True)
class _Device:
    """Execution providers, the wanted one first, and the way to have them."""

    providers: tuple[str, ...]
    way: str


_GPU_WAY = "replace the package onnxruntime by onnxruntime-gpu of the same version (docs/performance.md)"
_DEVICES = {
    "auto": _Device((_CPU,), "install onnxruntime"),
    "cpu": _Device((_CPU,), "install onnxruntime"),
    "openvino": _Device((OPENVINO,), "pip install 'aipface-server[openvino]'"),
    "cuda": _Device(("CUDAExecutionProvider",), _GPU_WAY),
    # What TensorRT cannot compute stays on the GPU.
    "tensorrt": _Device(("TensorrtExecutionProvider", "CUDAExecutionProvider"), f"install TensorRT and {_GPU_WAY}"),
}
DEVICES = tuple(_DEVICES)


def openvino_installed() -> bool:
    """Whether the extra ``openvino`` is there; nothing is loaded to find out."""
    return importlib.util.find_spec("openvino") is not None


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
