"""A plain ONNX Runtime loop, as somebody would write it in an afternoon: default options, OpenCV, the same networks."""

from __future__ import annotations

import cv2
import numpy as np
import onnxruntime

from benchmarks.peers.loop import arguments, run

TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]], np.float32
)
STRIDES = (8, 16, 32)


def main() -> None:
    """Decode, detect with YuNet at the picture's size, align, embed with both recognisers, fuse."""
    pictures, weights, seconds = arguments()
    detector, *recognisers = (
        onnxruntime.InferenceSession(str(weights / f"{name}.onnx")) for name in ("yunet", "sface", "fr_feature")
    )
    names = [output.name for output in detector.get_outputs()]

    def points(image: np.ndarray) -> np.ndarray:
        height, width = (-(-side // 32) * 32 for side in image.shape[:2])
        canvas = np.zeros((height, width, 3), np.uint8)
        canvas[: image.shape[0], : image.shape[1]] = image
        blob = canvas.transpose(2, 0, 1)[np.newaxis].astype(np.float32)
        outputs = dict(zip(names, detector.run(None, {detector.get_inputs()[0].name: blob}), strict=True))
        best, found = -1.0, np.zeros((5, 2))
        for stride in STRIDES:
            score = np.sqrt(outputs[f"cls_{stride}"][0, :, 0] * outputs[f"obj_{stride}"][0, :, 0])
            index = int(score.argmax())
            if score[index] > best:
                cell = np.array([index % (width // stride), index // (width // stride)])
                best = float(score[index])
                found = (cell + outputs[f"kps_{stride}"][0, index].reshape(5, 2)) * stride
        return found

    def embed(data: bytes) -> np.ndarray:
        image = np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR))
        move, _ = cv2.estimateAffinePartial2D(points(image).astype(np.float32), TEMPLATE, method=cv2.LMEDS)
        crop = cv2.warpAffine(image, np.asarray(move), (112, 112)).astype(np.float32)
        blobs = (crop[..., ::-1], (crop - 127.5) / 127.5)
        rows = []
        for session, blob in zip(recognisers, blobs, strict=True):
            batch = np.ascontiguousarray(blob.transpose(2, 0, 1)[np.newaxis])
            row = session.run(None, {session.get_inputs()[0].name: batch})[0][0]
            rows.append(row / np.linalg.norm(row))
        return np.concatenate(rows)

    run(embed, pictures, seconds)


if __name__ == "__main__":
    main()
