"""Names and order of the API's 72 and 150 landmarks.

"right" and "left" are the subject's: ``cheek_right_1`` lies on the left side of the picture. Inside a name that already
says which eye, brow or mouth it means, ``corner_right`` is the corner on the picture's left, too. Numbers of cheeks run
from the ear to the chin, those of lids, brows and lips from the picture's left to its right.
"""

from __future__ import annotations


def _numbered(pattern: str, numbers: str) -> tuple[str, ...]:
    return tuple(pattern.format(number) for number in numbers.split())


def _eye72(side: str) -> tuple[str, ...]:
    eye = f"eye_{side}"
    return (
        f"{eye}_corner_right",
        *_numbered(eye + "_eyelid_upper_{}", "2 4 6"),
        f"{eye}_corner_left",
        *_numbered(eye + "_eyelid_lower_{}", "6 4 2"),
        f"{eye}_eyeball_center",
    )


def _brow72(side: str) -> tuple[str, ...]:
    brow = f"eyebrow_{side}"
    return (
        f"{brow}_corner_right",
        *_numbered(brow + "_upper_{}", "2 3 4"),
        f"{brow}_corner_left",
        *_numbered(brow + "_lower_{}", "3 2 1"),
    )


def _eye78(side: str) -> tuple[str, ...]:
    eye = f"eye_{side}"
    return (
        *_numbered(eye + "_eyelid_upper_{}", "1 3 5 7"),
        *_numbered(eye + "_eyelid_lower_{}", "7 5 3 1"),
        f"{eye}_eyeball_right",
        f"{eye}_eyeball_left",
    )


NAMES_72: tuple[str, ...] = (
    *_numbered("cheek_right_{}", "1 3 5 7 9 11"),
    "chin_2",
    *_numbered("cheek_left_{}", "11 9 7 5 3 1"),
    *_eye72("right"),
    *_brow72("right"),
    *_eye72("left"),
    *_brow72("left"),
    *_numbered("nose_right_contour_{}", "1 2 3 4 6"),
    *_numbered("nose_left_contour_{}", "6 4 3 2 1"),
    "nose_tip",
    "mouth_corner_right_outer",
    *_numbered("mouth_lip_upper_outer_{}", "3 6 9"),
    "mouth_corner_left_outer",
    *_numbered("mouth_lip_lower_outer_{}", "9 6 3"),
    *_numbered("mouth_lip_upper_inner_{}", "3 6 9"),
    *_numbered("mouth_lip_lower_inner_{}", "9 6 3"),
)
"""Names of ``landmark72``'s entries by index."""

NAMES_150: tuple[str, ...] = (
    *NAMES_72,
    *_numbered("cheek_right_{}", "2 4 6 8 10"),
    "chin_1",
    "chin_3",
    *_numbered("cheek_left_{}", "10 8 6 4 2"),
    *_numbered("eyebrow_right_upper_{}", "1 5"),
    *_numbered("eyebrow_left_upper_{}", "1 5"),
    *_eye78("right"),
    *_eye78("left"),
    *_numbered("nose_bridge_{}", "1 2 3"),
    *_numbered("nose_right_contour_{}", "5 7"),
    *_numbered("nose_left_contour_{}", "7 5"),
    "nose_middle_contour",
    "mouth_corner_right_inner",
    "mouth_corner_left_inner",
    *_numbered("mouth_lip_upper_outer_{}", "1 2 4 5 7 8 10 11"),
    *_numbered("mouth_lip_lower_outer_{}", "11 10 8 7 5 4 2 1"),
    *_numbered("mouth_lip_upper_inner_{}", "1 2 4 5 7 8 10 11"),
    *_numbered("mouth_lip_lower_inner_{}", "11 10 8 7 5 4 2 1"),
)
"""Keys of ``landmark150`` in order: the 72, then 78 more."""

_LAST_NUMBER = {"eyelid": 7, "eyebrow_upper": 5, "eyebrow_lower": 3, "lip": 11, "chin": 3}


def mirrored_name(name: str) -> str:
    """What the landmark called ``name`` is called in a picture mirrored left to right."""
    swapped = name.replace("right", "#").replace("left", "right").replace("#", "left")
    stem, _, number = swapped.rpartition("_")
    if not number.isdigit():
        return swapped
    words = stem.split("_")
    kind = "eyelid" if "eyelid" in words else "lip" if "lip" in words else words[0]
    if kind == "eyebrow":
        kind = f"eyebrow_{words[-1]}"
    if kind not in _LAST_NUMBER:
        return swapped
    return f"{stem}_{_LAST_NUMBER[kind] + 1 - int(number)}"
