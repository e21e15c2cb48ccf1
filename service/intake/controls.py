"""How strict a call is about the faces that it takes."""

from __future__ import annotations

from dataclasses import dataclass

from service.values import Control


@dataclass(frozen=True, slots=True)
class Controls:
    """``quality_control``, ``liveness_control`` and ``spoofing_control`` of a call."""

    quality: Control = Control.NONE
    liveness: Control = Control.NONE
    spoofing: Control = Control.NONE

    @property
    def any(self) -> bool:
        """Whether anything is checked at all."""
        return any(control is not Control.NONE for control in (self.quality, self.liveness, self.spoofing))


NO_CONTROLS = Controls()
