"""A recapture simulator: what a picture looks like after it was printed or shown on a screen and photographed again.

No real attack stands behind it: it models the traces that the literature names (print: smaller gamut, halftone, paper
edge, glare; screen: pixel grid and its moiré, bezel, other gamma and white point, reflections). It serves to see
whether a liveness score reacts to each trace at all, and to notice when a change makes it worse.
Pictures are BGR uint8; lengths are pixels of the second camera.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from models.train.textures import Layer, Rng, surface, waves
from service.values import Image

# Screen angles of cyan, magenta, yellow and black in offset printing, degrees.
_SCREEN_ANGLES = (15.0, 75.0, 0.0, 45.0)


@dataclass(frozen=True, slots=True)
class Scene:
    """How the second camera sees the medium: ``margin`` of the picture's side visible around it, and its turn."""

    margin: float
    tilt: float


def _grid(size: tuple[int, int], degrees: float, pitch: float) -> tuple[Layer, Layer]:
    """Coordinates along and across a pattern of period ``pitch`` turned by ``degrees``, in radians of phase.

    ``size``: height and width in pixels.
    """
    angle = np.radians(degrees)
    y, x = np.mgrid[0 : size[0], 0 : size[1]].astype(np.float32)
    turn = np.float32(2 * np.pi / pitch)
    along = (x * np.cos(angle) + y * np.sin(angle)) * turn
    across = (y * np.cos(angle) - x * np.sin(angle)) * turn
    return along.astype(np.float32), across.astype(np.float32)


def _halftone(ink: Layer, degrees: float, pitch: float) -> Layer:
    """Ink amount 0..1 as dots whose area grows with it; anti-aliased, as a lens would leave them."""
    along, across = _grid((ink.shape[0], ink.shape[1]), degrees, pitch)
    threshold = 0.5 + 0.25 * (np.cos(along) + np.cos(across))
    return np.asarray(np.clip((ink - threshold) * 4 + 0.5, 0, 1), np.float32)


def printed(rng: Rng, picture: Image) -> Layer:
    """The print itself, in reflectance 0..1 BGR: four inks in halftone on paper that is neither white nor even."""
    enlarged = cv2.resize(picture, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    light = enlarged.astype(np.float32) / 255
    gray = light.mean(axis=2, keepdims=True)
    light = gray + (light - gray) * np.float32(rng.uniform(0.65, 0.9))  # inks reach less saturated colours
    inks = 1 - light
    black = inks.min(axis=2) * rng.uniform(0.4, 0.8)
    pitch = rng.uniform(3.0, 5.5)
    reflected = np.ones_like(light)
    # BGR: yellow takes blue, magenta green, cyan red; 0.88: no ink absorbs all of it
    for channel, degrees in zip((2, 1, 0), _SCREEN_ANGLES[:3], strict=True):
        amount = np.clip((inks[..., channel] - black) / np.maximum(1 - black, 1e-3), 0, 1)
        reflected[..., channel] *= 1 - 0.88 * _halftone(amount, degrees, pitch)
    reflected *= 1 - 0.9 * _halftone(black, _SCREEN_ANGLES[3], pitch)[..., None]
    paper = np.array([rng.uniform(0.8, 0.95), rng.uniform(0.86, 0.95), rng.uniform(0.86, 0.96)], np.float32)
    fibre = 1 + 0.015 * rng.normal(0, 1, (*light.shape[:2], 1)).astype(np.float32)
    height, width = picture.shape[:2]
    return np.asarray(cv2.resize(reflected * paper * fibre, (width, height), interpolation=cv2.INTER_AREA), np.float32)


def shown(rng: Rng, picture: Image) -> Layer:
    """The screen itself, in light 0..1 BGR: gamma, white point, raised black, sub-pixel stripes and rows.

    The stripes are sampled at the second camera's pixels without a filter, so that pitches near it alias into moiré.
    """
    light = (picture.astype(np.float32) / 255) ** np.float32(rng.uniform(0.8, 1.3))
    light = light * np.array([rng.uniform(1.0, 1.12), 1.0, rng.uniform(0.86, 1.0)], np.float32)
    light = rng.uniform(0.01, 0.06) + light * rng.uniform(0.8, 1.0)
    degrees, pitch = rng.uniform(-8, 8), rng.uniform(0.92, 2.6)
    along, across = _grid((picture.shape[0], picture.shape[1]), degrees, pitch)
    depth = rng.uniform(0.05, 0.22)
    for channel in range(3):  # sub-pixels stand side by side, a third of a pixel apart
        light[..., channel] *= 1 + depth * np.cos(along + np.float32(2 * np.pi * channel / 3))
    light *= (1 + 0.6 * depth * np.cos(across))[..., None]
    return np.asarray(np.clip(light, 0, 1), np.float32)


def _glare(rng: Rng, height: int, width: int) -> Layer:
    """A soft reflection: ``(height, width)``, 0..1."""
    spot = np.zeros((height, width), np.float32)
    centre = (float(rng.uniform(0, width)), float(rng.uniform(0, height)))
    size = (float(rng.uniform(0.1, 0.4) * width), float(rng.uniform(0.05, 0.2) * height))
    corners = cv2.boxPoints((centre, size, float(rng.uniform(0, 180))))
    cv2.fillPoly(spot, [corners.astype(np.int32)], 1.0)
    return np.asarray(cv2.GaussianBlur(spot, (0, 0), width * rng.uniform(0.02, 0.08)), np.float32)


def _mounted(rng: Rng, medium: Layer, frame: Layer | None, scene: Scene, donor: Image) -> Layer:
    """The medium with its frame (paper edge, bezel) in front of a background, slightly turned and tilted."""
    height, width = medium.shape[:2]
    if frame is not None:
        edge = frame.shape[0]
        bordered = cv2.copyMakeBorder(medium, edge, edge, edge, edge, cv2.BORDER_REPLICATE)
        outer = np.ones(bordered.shape[:2], bool)
        outer[edge:-edge, edge:-edge] = False
        bordered[outer] = frame[0, 0]
        medium = np.asarray(bordered, np.float32)
    rows, columns = round(height * (1 + 2 * scene.margin)), round(width * (1 + 2 * scene.margin))
    inner_height, inner_width = medium.shape[:2]
    corners = np.array([[0, 0], [inner_width, 0], [inner_width, inner_height], [0, inner_height]], np.float32)
    centred = corners + np.array([(columns - inner_width) / 2, (rows - inner_height) / 2], np.float32)
    moved = centred + rng.normal(0, scene.tilt * width, (4, 2)).astype(np.float32)
    homography = cv2.getPerspectiveTransform(corners, moved.astype(np.float32))
    backdrop = surface(rng, rows, columns, donor) / 255
    if scene.margin <= 0:  # nothing but the medium is in view
        return np.asarray(cv2.warpPerspective(medium, homography, (columns, rows), borderMode=cv2.BORDER_REFLECT_101))
    view = cv2.warpPerspective(medium, homography, (columns, rows), flags=cv2.INTER_LINEAR)
    cover = cv2.warpPerspective(np.ones(medium.shape[:2], np.float32), homography, (columns, rows))[..., None]
    return np.asarray(view * cover + backdrop * (1 - cover), np.float32)


def photographed(rng: Rng, view: Layer) -> Image:
    """The second camera: uneven light, reflections, focus, grain, JPEG."""
    height, width = view.shape[:2]
    light = view * (1 + 0.12 * waves(rng, height, width, 3))[..., None]
    light = light + _glare(rng, height, width)[..., None] * rng.uniform(0, 0.45)
    light = cv2.GaussianBlur(light, (0, 0), float(rng.uniform(0.3, 0.9)))
    pixels = 255 * light + rng.normal(0, rng.uniform(0.5, 4), light.shape).astype(np.float32)
    whole = np.clip(np.round(pixels), 0, 255).astype(np.uint8)
    _, coded = cv2.imencode(".jpg", whole, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(70, 96))])
    return np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8)


def _paper_edge(rng: Rng, side: int) -> Layer:
    width = max(2, round(side * rng.uniform(0.02, 0.08)))
    return np.full((width, 1, 3), rng.uniform(0.82, 0.96), np.float32)


def _bezel(rng: Rng, side: int) -> Layer:
    width = max(2, round(side * rng.uniform(0.02, 0.07)))
    return np.full((width, 1, 3), rng.choice([rng.uniform(0.01, 0.08), rng.uniform(0.6, 0.9)]), np.float32)


def print_close(rng: Rng, picture: Image, donor: Image) -> Image:
    """A print that fills the view."""
    return photographed(rng, _mounted(rng, printed(rng, picture), None, Scene(0.0, 0.01), donor))


def print_edge(rng: Rng, picture: Image, donor: Image) -> Image:
    """A print held up: its white edge and the room are in view."""
    frame = _paper_edge(rng, picture.shape[0])
    return photographed(rng, _mounted(rng, printed(rng, picture), frame, Scene(rng.uniform(0.2, 0.5), 0.03), donor))


def screen_close(rng: Rng, picture: Image, donor: Image) -> Image:
    """A screen that fills the view."""
    return photographed(rng, _mounted(rng, shown(rng, picture), None, Scene(0.0, 0.01), donor))


def screen_bezel(rng: Rng, picture: Image, donor: Image) -> Image:
    """A telephone or tablet held up: its bezel and the room are in view."""
    frame = _bezel(rng, picture.shape[0])
    return photographed(rng, _mounted(rng, shown(rng, picture), frame, Scene(rng.uniform(0.2, 0.5), 0.03), donor))


Attack = Callable[[Rng, Image, Image], Image]
ATTACKS: dict[str, Attack] = {
    "print_close": print_close,
    "print_edge": print_edge,
    "screen_close": screen_close,
    "screen_bezel": screen_bezel,
}
"""Attack kinds by name; each takes a random source, the picture, and another picture to make the room from."""
