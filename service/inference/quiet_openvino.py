"""OpenVINO without its telemetry; import it from here and nowhere else.

The package tells Google Analytics whenever it is imported, by ``openvino-telemetry``, which pip brings along with it. A
server that keeps faces reports to nobody. Where that package cannot be imported OpenVINO does without.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import cast

sys.modules["openvino_telemetry"] = cast("ModuleType", None)  # cannot be imported from now on: it is None there

import openvino  # noqa: E402 (only now)

__all__ = ["openvino"]
