"""What can be read off a face beyond who it is. Every value is computed when asked for, shared work once per face.

Recipes (crop, size, colour order) are those the cards in ``models/cards`` were measured with. ``k`` is the side of a
square crop about the mesh's tight box, in multiples of the box's longer side; it is upright, or turned with a face that
is not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from service.inference import geometry
from service.inference.eyes import LID_VERTICES, Eye, EyeModel
from service.inference.face_regions import label_map
from service.inference.face_shape import SHAPES, shape_measures
from service.inference.heads import Heads, load_heads, softmax
from service.inference.landmark_map import landmarks_4, landmarks_150, refined_points
from service.inference.lenses import lens_measures
from service.inference.mesh import LEFT_EYE, RIGHT_EYE, Floats, Mesh, MeshModel, Network, around, load_canonical, square
from service.inference.session import Runtime, load_session
from service.once import once
from service.values import Angles, Face, Image, Points

EMOTIONS = ("neutral", "happy", "sad", "angry", "fear", "disgust", "surprise")
"""The API's names in the order of the network's outputs."""

GLASSES = ("none", "common", "sun")

MODEL_FILES = ("facemesh", "iris", "faceres", "age_gender", "expression", "fr_eye")
"""Short names of the pack's files that ``AttributeModels.load`` needs."""

_HAPPY = EMOTIONS.index("happy")

_AGE_SIDE, _AGE_K = 112, 1.0
_EMOTION_SIDE, _EMOTION_K = 112, 1.1
_FACERES_SIDE = 224
_FACERES_K = 1.2
_SYNTHETIC_K = 1.6
_EYE_SIDE, _EYE_K = 24, 1.6

# Degrees of the eye line up to which a crop stays upright, as the networks were measured. They do not know lying faces:
# of 40 turned by a quarter 36 wore a mask and 39 were drawn for them, tried by hand.
_UPRIGHT = 10.0

# A laugh shows the inside of the mouth: gap between the inner lips over the mouth's width at which a smile is as likely
# a laugh, and how fast that turns; read off 430 smiling LFW faces in order of the gap.
_LAUGH_GAP, _LAUGH_SOFTNESS = 0.25, 0.03

# Lid opening (height / width of the eye) at which an open and a closed eye are as likely, and the weights of it and of
# the eye network's logit; read off 120 LFW eyes around the network's doubtful cases, where the network alone errs.
_OPEN_LIDS, _LIDS_WEIGHT, _EYE_NETWORK_WEIGHT = 0.22, 25.0, 0.35

_LOGIT_LIMIT = 1e-6

_INNER_LIPS, _MOUTH_CORNERS = (13, 14), (61, 291)

# Positions in LID_VERTICES of three pairs of lower and upper lid points in the middle of the eye, and of its corners.
_LID_PAIRS = ((3, 11), (4, 12), (5, 13))
_LID_CORNERS = (LID_VERTICES.index(33), LID_VERTICES.index(133))


@dataclass(frozen=True, slots=True)
class Typed:
    """One class out of several, and how likely it is, 0..1."""

    type: str
    probability: float


@dataclass(frozen=True, slots=True)
class EyeStatus:
    """How likely each of the subject's eyes is open, 0..1."""

    left_eye: float
    right_eye: float


@dataclass(frozen=True, slots=True)
class AttributeModels:
    """The networks that attributes are read with. Safe to share between threads."""

    mesh: MeshModel
    eyes: EyeModel
    faceres: Network
    age_gender: Network
    expression: Network
    eye_state: Network
    heads: Heads

    @classmethod
    def load(cls, files: Mapping[str, Path], runtime: Runtime) -> AttributeModels:
        """Load the networks named in ``MODEL_FILES`` from ``files`` (short name → path)."""
        loaded = {name: load_session(files[name], runtime) for name in MODEL_FILES}
        return cls(
            MeshModel(loaded["facemesh"]),
            EyeModel(loaded["iris"]),
            loaded["faceres"],
            loaded["age_gender"],
            loaded["expression"],
            loaded["fr_eye"],
            load_heads(),
        )


class FaceReader:
    """Reads one face of one picture. Nothing is computed before it is asked for, and nothing twice.

    Not thread-safe: one reader belongs to one request.
    """

    def __init__(self, models: AttributeModels, image: Image, face: Face) -> None:
        self._models = models
        self._image = image
        self._face = face

    # --- shared work --------------------------------------------------------------------------------------------

    @once
    def mesh(self) -> Mesh:
        """The face's 468-point mesh."""
        return self._models.mesh.fit(self._image, self._face.box, geometry.eye_line_roll(self._face.points))

    @once
    def eyes(self) -> tuple[Eye, Eye]:
        """Lids and irises of the subject's right eye, then of the left one."""
        return self._models.eyes.find(self._image, self.mesh)

    @once
    def _look(self) -> tuple[float, Floats]:
        """At k 1.2, from ``faceres``: probability of male, and the 1024-d embedding that several heads share."""
        gender, _, embedding = self._models.faceres.run(_rgb(self.crop(_FACERES_K, _FACERES_SIDE)))
        return float(gender.ravel()[0]), embedding[0]

    @once
    def _age_and_gender(self) -> tuple[float, float]:
        """At k 1.0, from face-api: age in years, probability of male."""
        age, gender = self._models.age_gender.run(_rgb(self.crop(_AGE_K, _AGE_SIDE)))
        return float(age.ravel()[0]), float(gender[0, 0])

    @once
    def _emotions(self) -> Floats:
        """Probabilities in the order of ``EMOTIONS``."""
        probabilities: Floats = self._models.expression.run(_rgb(self.crop(_EMOTION_K, _EMOTION_SIDE)))[0][0]
        return probabilities

    def crop(self, k: float, side: int) -> Image:
        """The square about the face, ``k`` times its box, as ``(side, side, 3)`` BGR; black outside.

        Upright where the face nearly is, turned with its eye line otherwise.
        """
        if abs(self.mesh.eye_line) > _UPRIGHT:
            cut = around(self.mesh.flat, k, self.mesh.eye_line, side)
        else:
            x, y, width, height = self.mesh.box
            cut = square((x + width / 2, y + height / 2), k * max(width, height), 0.0, side)
        return geometry.warp(self._image, cut, (side, side))

    def embedding(self, k: float, gray: bool = False) -> Floats:
        """The 1024-d ``faceres`` embedding of the crop ``k``, optionally turned gray first."""
        crop = self.crop(k, _FACERES_SIDE)
        if gray:
            crop = np.repeat(cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY)[:, :, np.newaxis], 3, axis=2).astype(np.uint8)
        embedding: Floats = self._models.faceres.run(_rgb(crop))[2][0]
        return embedding

    # --- geometry -----------------------------------------------------------------------------------------------

    @property
    def presence(self) -> float:
        """0..1: whether the mesh's network saw a face in its crop."""
        return self.mesh.presence

    @property
    def angles(self) -> Angles:
        """Head pose from the mesh, degrees."""
        return self.mesh.angles

    @once
    def landmarks(self) -> Points:
        """``(150, 2)`` in the order of ``landmark_names.NAMES_150``; the first 72 are ``landmark72``."""
        return landmarks_150(self.mesh, self.eyes)

    @property
    def landmark4(self) -> Points:
        """``(4, 2)``: the eye centres (picture-left first), nose tip, mouth centre."""
        return landmarks_4(self.landmarks)

    @property
    def parsing(self) -> NDArray[np.uint8]:
        """``(height, width)`` of the whole picture: ``face_regions.Region`` of every pixel."""
        height, width = self._image.shape[:2]
        return label_map(refined_points(self.mesh, self.eyes), height, width)

    @once
    def face_shapes(self) -> tuple[Typed, ...]:
        """All of ``SHAPES``, in that order."""
        measures = shape_measures(self.mesh.points, load_canonical())
        shares = self._models.heads.face_shape.probabilities(measures)
        return tuple(Typed(name, float(share)) for name, share in zip(SHAPES, shares, strict=True))

    @property
    def face_shape(self) -> Typed:
        """The likeliest of ``face_shapes``."""
        return likeliest(self.face_shapes)

    # --- attributes ---------------------------------------------------------------------------------------------

    @property
    def age(self) -> float:
        """Years, never below zero."""
        return max(0.0, self._age_and_gender[0])

    @once
    def gender(self) -> Typed:
        """``male`` or ``female``, from the mean of two networks' log-odds: it errs less than either."""
        male = _sigmoid((_logit(self._look[0]) + _logit(self._age_and_gender[1])) / 2)
        return Typed("male", male) if male >= 0.5 else Typed("female", 1 - male)

    @property
    def emotion(self) -> Typed:
        """One of ``EMOTIONS``."""
        return _best(EMOTIONS, self._emotions)

    @once
    def expression(self) -> Typed:
        """``none``, ``smile`` or ``laugh``: the emotion network tells smiling, the open mouth tells laughing."""
        happy = float(self._emotions[_HAPPY])
        laughing = _sigmoid((self.mouth_opening - _LAUGH_GAP) / _LAUGH_SOFTNESS)
        shares = [1 - happy, happy * (1 - laughing), happy * laughing]
        if happy < 0.5:
            return Typed("none", shares[0])
        return Typed("laugh", shares[2]) if laughing > 0.5 else Typed("smile", shares[1])

    @property
    def mouth_opening(self) -> float:
        """Gap between the inner lips over the mouth's width."""
        flat = self.mesh.flat
        gap = np.linalg.norm(flat[_INNER_LIPS[0]] - flat[_INNER_LIPS[1]])
        return float(gap / max(float(np.linalg.norm(flat[_MOUTH_CORNERS[0]] - flat[_MOUTH_CORNERS[1]])), 1e-6))

    @property
    def beauty(self) -> float:
        """0..100, a percentile among ordinary photographs."""
        return self._models.heads.beauty.percentile(self._look[1])

    @once
    def glasses(self) -> Typed:
        """One of ``GLASSES``: a second head decides for sunglasses, the first one tells common glasses from none."""
        heads = self._models.heads
        sun = float(heads.sunglasses.probabilities(self.sunglasses_measures)[1])
        clear = softmax(self._glasses_logits[: GLASSES.index("sun")])
        return _best(GLASSES, np.append(clear * (1 - sun), sun))

    @once
    def _glasses_logits(self) -> Floats:
        """Logits in the order of ``GLASSES``."""
        return self._models.heads.glasses.values(self._look[1])

    @property
    def sunglasses_measures(self) -> Floats:
        """``(5,)``: the glasses head's log-odds of common and sun against none, then ``lens_measures``."""
        logits = self._glasses_logits
        return np.append(logits[1:] - logits[0], lens_measures(self._image, self.mesh)).astype(np.float32)

    @once
    def mask(self) -> Typed:
        """``"1"`` with a mask on, ``"0"`` without."""
        return _best(("0", "1"), self._models.heads.mask.probabilities(self._look[1]))

    @once
    def face_type(self) -> Typed:
        """``human`` or ``cartoon``."""
        return _best(("human", "cartoon"), self._models.heads.cartoon.probabilities(self._look[1]))

    @once
    def spoofing(self) -> float:
        """0..1: how much the face looks like one made by a generative network. A hint, no verdict."""
        return float(self._models.heads.synthetic.probabilities(self.embedding(_SYNTHETIC_K))[1])

    @once
    def eye_status(self) -> EyeStatus:
        """Openness of each eye from the eye network and from the lids' contours."""
        right = self._openness(RIGHT_EYE, self.eyes[0])
        return EyeStatus(left_eye=self._openness(LEFT_EYE, self.eyes[1]), right_eye=right)

    def _openness(self, corners: tuple[int, int], eye: Eye) -> float:
        first, second = self.mesh.flat[corners[0]], self.mesh.flat[corners[1]]
        middle = (first + second) / 2
        side = _EYE_K * float(np.linalg.norm(second - first))
        cut = square((float(middle[0]), float(middle[1])), side, self.mesh.eye_line, _EYE_SIDE)
        gray = cv2.cvtColor(geometry.warp(self._image, cut, (_EYE_SIDE, _EYE_SIDE)), cv2.COLOR_BGR2GRAY)
        batch = gray[np.newaxis, np.newaxis].astype(np.float32) / np.float32(255)
        closed, opened = self._models.eye_state.run(batch)[0].ravel()
        logit = _EYE_NETWORK_WEIGHT * float(opened - closed)
        return _sigmoid(logit + _LIDS_WEIGHT * (lid_opening(eye) - _OPEN_LIDS))


def lid_opening(eye: Eye) -> float:
    """Height over width of the eye's opening, from three pairs of lid points."""
    heights = [float(np.linalg.norm(eye.lids[lower] - eye.lids[upper])) for lower, upper in _LID_PAIRS]
    width = float(np.linalg.norm(eye.lids[_LID_CORNERS[0]] - eye.lids[_LID_CORNERS[1]]))
    return sum(heights) / len(heights) / max(width, 1e-6)


def _rgb(crop: Image) -> Floats:
    """A batch of one for the NHWC networks: ``(1, side, side, 3)`` float32, RGB 0..255."""
    return crop[np.newaxis, :, :, ::-1].astype(np.float32)


def likeliest(classes: Sequence[Typed]) -> Typed:
    """Of classes that exclude each other."""
    return max(classes, key=lambda each: each.probability)


def _best(names: Sequence[str], probabilities: NDArray[Any]) -> Typed:
    index = int(np.argmax(probabilities))
    return Typed(names[index], float(probabilities[index]))


def _logit(probability: float) -> float:
    clipped = min(max(probability, _LOGIT_LIMIT), 1 - _LOGIT_LIMIT)
    return math.log(clipped / (1 - clipped))


def _sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-max(-60.0, min(60.0, value))))
