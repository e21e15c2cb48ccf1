"""face-recognition (dlib) with its defaults: HOG detector, 128 numbers."""

from __future__ import annotations

import cv2
import face_recognition  # type: ignore[import-not-found]
import numpy as np

from benchmarks.peers.loop import arguments, run


def main() -> None:
    """``face_locations`` and ``face_encodings`` of a decoded picture, as its documentation has it."""
    pictures, _, seconds = arguments()

    def embed(data: bytes) -> np.ndarray:
        image = np.ascontiguousarray(
            np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR))[..., ::-1]
        )
        found = face_recognition.face_encodings(image, face_recognition.face_locations(image))
        return np.asarray(found[0]) if found else np.zeros(128)

    run(embed, pictures, seconds)


if __name__ == "__main__":
    main()
