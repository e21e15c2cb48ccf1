"""By which names files are taken for pictures. A module of its own, for it is read where nothing slow may be."""

PICTURE_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
"""In lower case, the usual ones first."""
