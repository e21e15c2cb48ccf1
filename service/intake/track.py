"""How a face moves through a video: one number per measure and moment."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

Series = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """Measures of the largest face of each moment at which a face was seen, all ``(n,)``, in the order of time.

    ``seconds`` from the first frame; ``yaw`` and ``pitch`` in degrees, signs as in ``service.values``; ``lids``: height
    over width of the eyes' openings, mean of both; ``eyes``: how likely both eyes are open, 0..1, the lower of the two;
    ``mouth``: gap between the inner lips over the mouth's width; ``across`` and ``down``: the centre of the face's box
    in pixels; ``side``: the longer side of that box.
    """

    seconds: Series
    yaw: Series
    pitch: Series
    lids: Series
    eyes: Series
    mouth: Series
    across: Series
    down: Series
    side: Series

    @classmethod
    def of(cls, rows: list[tuple[float, ...]]) -> Track:
        """One row per moment, columns in the order of the fields."""
        columns = np.array(rows, dtype=np.float64).reshape(-1, len(fields(cls))).T
        return cls(*columns)

    def __len__(self) -> int:
        return len(self.seconds)
