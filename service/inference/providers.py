"""From the ``device`` setting to ONNX Runtime's execution providers; never a silent fallback."""

from __future__ import annotations

import onnxruntime

from service.errors import ServiceError
from service.inference.session import Provider

_PROVIDERS: dict[str, str] = {
    "auto": "CPUExecutionProvider",
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
}


class DeviceUnavailable(ServiceError):
    """The runtime that is installed has no provider for the device that was asked for."""


def providers_for(device: str) -> list[Provider]:
    """Providers for ``auto``, ``cpu``, ``cuda`` or ``openvino``. Raises ``DeviceUnavailable`` with the way out."""
    wanted = _PROVIDERS[device]
    available = onnxruntime.get_available_providers()
    if wanted not in available:
        raise DeviceUnavailable(
            f"device {device} needs {wanted}, and this onnxruntime offers {', '.join(available)}: "
            "install the package of onnxruntime for it, or set AIPFACE_DEVICE=cpu"
        )
    return [wanted]
