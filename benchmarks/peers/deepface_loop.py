"""DeepFace with the same detector (YuNet) and the first of our two recognisers (SFace), from our weights."""

from __future__ import annotations

import cv2
import numpy as np
from deepface import DeepFace  # type: ignore[import-not-found]

from benchmarks.peers.loop import arguments, run


def main() -> None:
    """``DeepFace.represent`` of a decoded picture, as its documentation has it."""
    pictures, _, seconds = arguments()

    def embed(data: bytes) -> list[float]:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        faces = DeepFace.represent(image, model_name="SFace", detector_backend="yunet", enforce_detection=False)
        largest = max(faces, key=lambda face: face["facial_area"]["w"] * face["facial_area"]["h"])
        return [float(value) for value in largest["embedding"]]

    run(embed, pictures, seconds)


if __name__ == "__main__":
    main()
