"""Things that hide parts of a face, drawn by code: patches, hands, masks, sunglasses, hair, scarves, rods.

Each occluder is a layer to paste and an opacity map. Clear glasses and shadows are drawn too, as things that hide
nothing: a network that saw only opaque objects would call every frame and every shadow an occlusion.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from models.train import face_parts
from models.train.textures import Layer, Rng, colour, skin, surface
from service.values import Image, Points

_TWO_PARTS = 0.25

OPAQUE = 0.5
"""From this opacity on a pixel counts as covered."""


@dataclass(frozen=True, slots=True, eq=False)
class Occluder:
    """``layer`` BGR float32 ``(h, w, 3)``; ``opacity`` 0..1 ``(h, w)``; ``covers``: whether it hides what is below."""

    layer: Layer
    opacity: Layer
    covers: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Canvas:
    """The face to draw on: its picture, its 68 points, and another picture to cut textures from."""

    picture: Image
    outline: Points
    donor: Image

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.picture.shape[0], self.picture.shape[1]

    @property
    def face(self) -> float:
        """Distance from the nose's root to the chin, in pixels: the yardstick of everything drawn."""
        return float(np.linalg.norm(self.outline[8] - self.outline[27]))

    @property
    def down(self) -> Points:
        """Unit vector from brow to chin."""
        return np.asarray((self.outline[8] - self.outline[27]) / max(self.face, 1e-6), np.float32)

    @property
    def across(self) -> Points:
        """Unit vector to the picture's right in the face's own frame."""
        return np.array([self.down[1], -self.down[0]], np.float32)

    def tone(self) -> NDArray[np.float32]:
        """Median colour of both cheeks, BGR."""
        areas = face_parts.polygons(self.outline)
        inside = face_parts.area(areas[4], *self.size) | face_parts.area(areas[5], *self.size)
        pixels = self.picture[inside > 0]
        return np.asarray(np.median(pixels, axis=0) if len(pixels) else (110, 130, 170), np.float32)


def _polygon(canvas: Canvas, corners: NDArray[np.floating], softness: float) -> Layer:
    filled = np.zeros(canvas.size, np.uint8)
    cv2.fillPoly(filled, [np.round(corners * 16).astype(np.int32)], 255, cv2.LINE_AA, shift=4)
    return _soft(filled, softness)


def _soft(filled: NDArray[np.uint8], softness: float) -> Layer:
    opacity = filled.astype(np.float32) / 255
    return np.asarray(cv2.GaussianBlur(opacity, (0, 0), softness) if softness > 0.3 else opacity, np.float32)


def _strokes(canvas: Canvas, lines: Sequence[NDArray[np.floating]], thickness: float, softness: float) -> Layer:
    drawn = np.zeros(canvas.size, np.uint8)
    paths = [np.round(line * 16).astype(np.int32) for line in lines]
    cv2.polylines(drawn, paths, False, 255, max(1, round(thickness)), cv2.LINE_AA, shift=4)
    return _soft(drawn, softness)


def patch(rng: Rng, canvas: Canvas) -> Occluder:
    """A rectangle, an ellipse or a blob of any surface, about anywhere on the face."""
    part = face_parts.polygons(canvas.outline)[int(rng.integers(7))]
    centre = part.mean(axis=0) + rng.normal(0, 0.12 * canvas.face, 2)
    turn = np.linspace(0, 2 * np.pi, 40, endpoint=False) + 0.02
    radii = canvas.face * rng.uniform(0.12, 0.6, 2)
    shape = rng.random()
    roundness = 0.08 if shape < 0.35 else 1.0  # a superellipse of high power is a rectangle
    unit = np.stack([np.cos(turn), np.sin(turn)], 1)
    corners = np.sign(unit) * np.abs(unit) ** roundness
    if shape > 0.7:
        corners *= (
            1 + 0.3 * np.interp(turn, np.linspace(0, 2 * np.pi, 9), rng.normal(0, 1, 9), period=2 * np.pi)[:, None]
        )
    angle = rng.uniform(0, np.pi)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    corners = (corners * radii) @ rotation.T + centre
    return Occluder(surface(rng, *canvas.size, canvas.donor), _polygon(canvas, corners, rng.uniform(0, 1.5)))


def part_patch(rng: Rng, canvas: Canvas) -> Occluder:
    """A plaster, a sticker, a censor bar: one part or two hidden exactly, or by the rectangle around it."""
    opacity = np.zeros(canvas.size, np.float32)
    parts = face_parts.polygons(canvas.outline)
    for index in rng.choice(len(parts), 2 if rng.random() < _TWO_PARTS else 1, replace=False):
        part = parts[int(index)]
        if rng.random() < 0.5:
            part = np.asarray(cv2.boxPoints(cv2.minAreaRect(part)), np.float32)
        centre = part.mean(axis=0)
        corners = centre + (part - centre) * rng.uniform(0.9, 1.6) + rng.normal(0, 0.02 * canvas.face, 2)
        opacity = np.maximum(opacity, _polygon(canvas, corners, rng.uniform(0, 1.2)))
    if rng.random() < 0.5:
        layer = np.empty((*canvas.size, 3), np.float32)
        layer[:] = colour(rng)
        return Occluder(layer, opacity)
    return Occluder(surface(rng, *canvas.size, canvas.donor), opacity)


def hand(rng: Rng, canvas: Canvas) -> Occluder:
    """A palm and fingers of the face's own skin colour, from any side, on any part."""
    part = face_parts.polygons(canvas.outline)[int(rng.integers(7))]
    tips = part.mean(axis=0) + rng.normal(0, 0.1 * canvas.face, 2)
    angle = rng.uniform(0, 2 * np.pi)
    along = np.array([np.cos(angle), np.sin(angle)])
    side = np.array([-along[1], along[0]])
    finger = canvas.face * rng.uniform(0.13, 0.2)
    count, spread = int(rng.integers(1, 5)), rng.uniform(0.95, 1.35)
    drawn, edges = np.zeros(canvas.size, np.uint8), np.zeros(canvas.size, np.uint8)
    palm = tips - along * finger * rng.uniform(2.5, 4.5)
    for index in range(count):
        offset = (index - (count - 1) / 2) * finger * spread
        tip = tips + side * offset - along * finger * rng.uniform(0, 0.8)
        base = palm + side * offset * 0.85
        ends = [tuple(int(v) for v in np.round(point)) for point in (tip, base)]
        cv2.line(drawn, ends[0], ends[1], 255, max(2, round(finger)), cv2.LINE_AA)
        shifted = [tuple(int(v) for v in np.round(point + side * finger / 2)) for point in (tip, base)]
        cv2.line(edges, shifted[0], shifted[1], 255, 1, cv2.LINE_AA)
    if rng.random() < 0.7:
        axes = (max(2, round(finger * 2.2)), max(2, round(finger * 1.1 * max(count, 2))))
        centre = palm - along * finger * 1.2
        cv2.ellipse(drawn, (round(centre[0]), round(centre[1])), axes, float(np.degrees(angle)), 0, 360, 255, -1)
    layer = skin(rng, *canvas.size, canvas.tone())
    opacity = _soft(drawn, rng.uniform(0.3, 1.2))
    # fingers are rounded: darker towards their edges
    layer *= (0.72 + 0.28 * np.clip(cv2.GaussianBlur(opacity, (0, 0), finger / 4) * 1.25 - 0.25, 0, 1))[..., None]
    layer *= (1 - 0.4 * _soft(edges, 0.8))[..., None]
    return Occluder(layer, opacity)


def mask(rng: Rng, canvas: Canvas) -> Occluder:
    """A medical or cloth mask from the nose (sometimes worn too low) to below the chin, with folds and straps."""
    outline, down = canvas.outline, canvas.down
    first = int(rng.integers(1, 4))
    contour = outline[first : 17 - first] + down * 0.05 * canvas.face
    top = outline[int(rng.choice([28, 29, 30, 33, 51], p=[0.3, 0.35, 0.15, 0.1, 0.1]))]
    upper = [(outline[16 - first] + top) / 2 + down * rng.uniform(-0.06, 0.04) * canvas.face, top,
             (outline[first] + top) / 2 + down * rng.uniform(-0.06, 0.04) * canvas.face]  # fmt: skip
    opacity = _polygon(canvas, np.concatenate([contour, np.array(upper)]), rng.uniform(0.3, 1))
    if rng.random() < 0.6:
        tint = np.array(
            [(235, 235, 235), (225, 200, 150), (215, 225, 170), (30, 30, 30), (190, 170, 235)][int(rng.integers(5))]
        )
        layer = skin(rng, *canvas.size, tint.astype(np.float32))
    else:
        layer = surface(rng, *canvas.size, canvas.donor)
    lines = []
    for height in np.linspace(0.1, 0.9, int(rng.integers(2, 5))):
        left, right = outline[first] * (1 - height) + outline[6] * height, outline[16 - first] * (1 - height)
        right = right + outline[10] * height
        middle = top * (1 - height) + outline[8] * height + down * 0.05 * canvas.face
        lines.append(np.stack([left, middle, right]))
    layer *= (1 - rng.uniform(0, 0.25) * _strokes(canvas, lines, canvas.face / 60, canvas.face / 90))[..., None]
    straps = [
        np.stack([outline[first], outline[0] - down * 3]),
        np.stack([outline[16 - first], outline[16] - down * 3]),
    ]
    return Occluder(layer, np.maximum(opacity, _strokes(canvas, straps, canvas.face / 70, 0.4)))


def _lenses(rng: Rng, canvas: Canvas, scale: float) -> list[NDArray[np.floating]]:
    """Outlines of two lenses about the eyes, ``(32, 2)`` each."""
    turn = np.linspace(0, 2 * np.pi, 32, endpoint=False)
    roundness, height, drop = rng.uniform(0.5, 1), rng.uniform(0.45, 1.0), rng.uniform(0, 0.12)
    slant = max(0.0, rng.uniform(-0.3, 0.35))  # outer corners higher, as sports glasses have it
    unit = np.stack([np.cos(turn), np.sin(turn)], 1)
    unit = np.sign(unit) * np.abs(unit) ** roundness
    lenses = []
    for outwards, corners in ((-1, (36, 39)), (1, (42, 45))):
        first, second = canvas.outline[corners[0]], canvas.outline[corners[1]]
        half = max(float(np.linalg.norm(second - first)), 0.2 * canvas.face) * scale
        centre = (first + second) / 2 + canvas.down * half * drop
        drops = unit[:, 1:] * height - slant * outwards * unit[:, :1]
        lenses.append(centre + unit[:, :1] * half * canvas.across + drops * half * canvas.down)
    return lenses


def _reflection(rng: Rng, canvas: Canvas, lenses: Sequence[NDArray[np.floating]]) -> Layer:
    """What mirrored lenses show: a bright sky over dark ground, bent and with something of the surroundings in it."""
    y, x = np.mgrid[0 : canvas.size[0], 0 : canvas.size[1]].astype(np.float32)
    sky = np.float32(rng.uniform(110, 255)) + rng.normal(0, 18, 3).astype(np.float32)
    ground = np.float32(rng.uniform(5, 90)) + rng.normal(0, 12, 3).astype(np.float32)
    edge, horizon, bend = rng.uniform(0.03, 0.4), rng.uniform(-0.5, 0.6), rng.uniform(-0.6, 0.6)
    layer = np.zeros((*canvas.size, 3), np.float32)
    nearest = np.full(canvas.size, np.inf, np.float32)
    for lens in lenses:
        centre, half = lens.mean(axis=0), float(np.ptp(lens @ canvas.down)) / 2 + 1e-3
        right = ((x - centre[0]) * canvas.across[0] + (y - centre[1]) * canvas.across[1]) / half
        below = ((x - centre[0]) * canvas.down[0] + (y - centre[1]) * canvas.down[1]) / half
        low = 1 / (1 + np.exp(np.clip(-(below - horizon - bend * right**2 / 4) / edge, -30, 30)))[..., None]
        mine = np.hypot(right, below) < nearest
        nearest = np.minimum(nearest, np.hypot(right, below))
        layer[mine] = (sky + (ground - sky) * low)[mine]
    scene = surface(rng, *canvas.size, canvas.donor)
    return np.asarray(layer + (scene - layer) * rng.uniform(0, 0.6), np.float32)


def _frame_lines(canvas: Canvas, lenses: Sequence[NDArray[np.floating]]) -> list[NDArray[np.floating]]:
    """Rims, bridge and temples."""
    rims = [np.concatenate([lens, lens[:1]]) for lens in lenses]
    bridge = np.stack([lenses[0][2], lenses[1][14]])
    return [*rims, bridge, np.stack([lenses[0][17], canvas.outline[0]]), np.stack([lenses[1][31], canvas.outline[16]])]


def sunglasses(rng: Rng, canvas: Canvas) -> Occluder:
    """Dark or mirrored lenses that let at most a quarter of the light through."""
    lenses = _lenses(rng, canvas, rng.uniform(0.72, 1.15))
    opacity = np.maximum(_polygon(canvas, lenses[0], 0.5), _polygon(canvas, lenses[1], 0.5)) * rng.uniform(0.75, 1)
    layer = np.empty((*canvas.size, 3), np.float32)
    layer[:] = colour(rng, dark=True) if rng.random() < 0.8 else colour(rng)
    if rng.random() < 0.45:
        layer = _reflection(rng, canvas, lenses)
    shine = np.linspace(rng.uniform(0, 70), 0, canvas.size[0], dtype=np.float32)[:, None, None]
    layer += np.roll(shine, int(canvas.outline[27, 1] - canvas.size[0] / 4), axis=0)
    if rng.random() < 0.4:
        centre = lenses[int(rng.integers(2))].mean(axis=0) + rng.normal(0, 0.06 * canvas.face, 2)
        spot = np.zeros(canvas.size, np.uint8)
        cv2.circle(spot, (round(centre[0]), round(centre[1])), max(1, round(0.04 * canvas.face)), 255, -1)
        layer += 150 * _soft(spot, 0.02 * canvas.face + 0.3)[..., None]
    frame = _strokes(canvas, _frame_lines(canvas, lenses), canvas.face * rng.uniform(0.02, 0.05), 0.4)
    layer += (colour(rng, dark=rng.random() < 0.5) - layer) * frame[..., None]
    return Occluder(np.clip(layer, 0, 255), np.maximum(opacity, frame))


def clear_glasses(rng: Rng, canvas: Canvas) -> Occluder:
    """Rims with clear lenses and a faint glare: worn by many, hides nothing."""
    lenses = _lenses(rng, canvas, rng.uniform(0.66, 0.9))
    opacity = _strokes(canvas, _frame_lines(canvas, lenses), canvas.face * rng.uniform(0.01, 0.05), 0.4)
    layer = np.empty((*canvas.size, 3), np.float32)
    layer[:] = colour(rng, dark=rng.random() < 0.7)
    if rng.random() < 0.4:
        glare = _polygon(canvas, lenses[int(rng.integers(2))], 1.0) * (1 - opacity)
        layer += (255 - layer) * glare[..., None]
        opacity = np.maximum(opacity, glare * rng.uniform(0.05, 0.3))
    return Occluder(layer, opacity, covers=False)


def hair(rng: Rng, canvas: Canvas) -> Occluder:
    """Strands that fall from above the brows over an eye, a cheek or the forehead; dense where many overlap."""
    tone = np.array(
        [(20, 20, 25), (30, 45, 70), (60, 110, 160), (120, 170, 210), (110, 110, 115)][int(rng.integers(5))]
    )
    root = canvas.outline[int(rng.integers(17, 27))] - canvas.down * canvas.face * rng.uniform(0.35, 0.6)
    reach, bend = canvas.face * rng.uniform(0.5, 1.7), rng.uniform(-0.5, 0.5) * canvas.face
    width = canvas.face * rng.uniform(0.1, 0.5)
    layer = np.zeros((*canvas.size, 3), np.float32)
    drawn = np.zeros(canvas.size, np.float32)
    step = np.linspace(0, 1, 12)[:, None]
    for _ in range(int(rng.integers(40, 130))):
        start = root + canvas.across * rng.normal(0, width / 2)
        end = start + canvas.down * reach * rng.uniform(0.7, 1.1) + canvas.across * (bend + rng.normal(0, width / 4))
        knee = (start + end) / 2 + canvas.across * (bend * 0.6 + rng.normal(0, width / 5))
        path = start * (1 - step) ** 2 + 2 * knee * step * (1 - step) + end * step**2
        thickness = int(rng.integers(1, max(2, round(canvas.face / 35)) + 1))
        strand = np.round(path * 16).astype(np.int32)
        shade = tone * rng.uniform(0.6, 1.4)
        cv2.polylines(layer, [strand], False, [float(v) for v in shade], thickness, cv2.LINE_AA, shift=4)
        cv2.polylines(drawn, [strand], False, 1.0, thickness, cv2.LINE_AA, shift=4)
    return Occluder(np.clip(layer, 0, 255), np.clip(drawn, 0, 1))


def scarf(rng: Rng, canvas: Canvas) -> Occluder:
    """Cloth, a collar or any object rising from below over chin and mouth, up to the nose at most."""
    height, width = canvas.size
    edge = canvas.outline[8] - canvas.down * canvas.face * rng.uniform(0, 0.62)
    x = np.linspace(0, width - 1, 12)
    slope = rng.uniform(-0.35, 0.35)
    y = edge[1] + (x - edge[0]) * slope + np.cumsum(rng.normal(0, canvas.face * 0.03, 12))
    corners = np.concatenate([np.stack([x, y], 1), [[width, height * 2], [0, height * 2]]])
    return Occluder(surface(rng, height, width, canvas.donor), _polygon(canvas, corners, rng.uniform(0.3, 1.5)))


def rod(rng: Rng, canvas: Canvas) -> Occluder:
    """A microphone, a telephone, a cup: a thick bar that ends on the face."""
    end = canvas.outline[int(rng.choice([8, 57, 33, 4, 12, 2, 14]))] + rng.normal(0, 0.1 * canvas.face, 2)
    angle = rng.uniform(0, 2 * np.pi)
    start = end + np.array([np.cos(angle), np.sin(angle)]) * canvas.face * 3
    opacity = _strokes(canvas, [np.stack([start, end])], canvas.face * rng.uniform(0.12, 0.5), rng.uniform(0.3, 1))
    return Occluder(surface(rng, *canvas.size, canvas.donor), opacity)


def shadow(rng: Rng, canvas: Canvas) -> Occluder:
    """A soft or hard shadow over a side of the face: changes the light, hides nothing."""
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[0 : canvas.size[0], 0 : canvas.size[1]].astype(np.float32)
    middle = canvas.outline[int(rng.integers(27, 68))]
    distance = (x - middle[0]) * np.cos(angle) + (y - middle[1]) * np.sin(angle)
    opacity = rng.uniform(0.2, 0.7) / (1 + np.exp(-distance / (canvas.face * rng.uniform(0.01, 0.4))))
    return Occluder(np.zeros((*canvas.size, 3), np.float32), np.asarray(opacity, np.float32), covers=False)


Draw = Callable[[Rng, Canvas], Occluder]
KINDS: dict[str, tuple[Draw, float]] = {
    "patch": (patch, 0.14),
    "part_patch": (part_patch, 0.24),
    "hand": (hand, 0.13),
    "mask": (mask, 0.1),
    "sunglasses": (sunglasses, 0.1),
    "clear_glasses": (clear_glasses, 0.08),
    "hair": (hair, 0.08),
    "scarf": (scarf, 0.04),
    "rod": (rod, 0.05),
    "shadow": (shadow, 0.04),
}
"""What is drawn and how often (probabilities of one draw)."""


def draw(rng: Rng, canvas: Canvas, kind: str) -> tuple[Image, NDArray[np.uint8]]:
    """Pastes one occluder of ``kind``: the new picture and the 0/1 map ``(h, w)`` of what is now covered."""
    thing = KINDS[kind][0](rng, canvas)
    opacity = thing.opacity[..., None]
    pasted = canvas.picture * (1 - opacity) + thing.layer * opacity
    covered = (thing.opacity >= OPAQUE) if thing.covers else np.zeros(canvas.size, bool)
    return np.clip(np.round(pasted), 0, 255).astype(np.uint8), covered.astype(np.uint8)
