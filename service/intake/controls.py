"""How strict a call is about the faces that it takes."""

from __future__ import annotations

from dataclasses import dataclass

from service.values import Control


@dataclass(frozen=True, slots=True)
class Controls:
    """``quality_control`` and ``liveness_control`` of a call."""

    quality: Control = Control.NONE
    liveness: Control = Control.NONE

    @property
    def any(self) -> bool:
        """Whether anything is checked at all."""
        return self.quality is not Control.NONE or self.liveness is not Control.NONE


NO_CONTROLS = Controls()
