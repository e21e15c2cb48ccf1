"""File name endings of pictures. A module of its own, because commands that must start quickly import it."""

PICTURE_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
"""In lower case, the usual ones first."""
