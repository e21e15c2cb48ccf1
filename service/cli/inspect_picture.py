"""``aipface inspect``: everything that is read off the faces of a picture, drawn so that a person can look."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.common import effective_settings
from service.cli.failures import MISUSED, Failure
from service.cli.progress import shown_progress

if TYPE_CHECKING:
    from service.cli.contact_sheet import Inspected
    from service.parts import Models
    from service.values import Image


def inspect_picture(
    picture: Annotated[Path, typer.Argument(help="JPEG, PNG, BMP, WebP or TIFF.")],
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="The contact sheet to write (PNG or JPEG).")],
    faces: Annotated[int, typer.Option(min=1, max=100, help="Most faces to look at, largest first.")] = 10,
    pack: Annotated[str | None, typer.Option(help="Pack of weights; default: the setting `pack`.")] = None,
) -> None:
    """Draw boxes, landmarks, regions, angles and every value of each face of a picture onto a contact sheet.

    Needs no database and keeps nothing.
    """
    settings = effective_settings(pack=pack)
    import cv2

    from service.cli.contact_sheet import contact_sheet
    from service.images.decode import decode_picture
    from service.parts import load_models

    if output.suffix.lower() not in {".png", ".jpg", ".jpeg"}:
        raise Failure(f"{output} ends neither in .png nor in .jpg", MISUSED)
    try:
        image = decode_picture(picture.read_bytes(), settings.max_picture_pixels)
    except OSError as error:
        raise Failure(f"{picture} cannot be read: {error.strerror}", MISUSED) from None
    with shown_progress() as progress:
        models = load_models(settings, progress=progress)
    found = read_faces(models, image, faces)
    if not found:
        raise Failure(f"no face was found in {picture}")
    if not cv2.imwrite(str(output), contact_sheet(image, found)):
        raise Failure(f"{output} cannot be written")
    typer.echo(f"{len(found)} faces on {output}", err=True)


def read_faces(models: Models, image: Image, limit: int) -> list[Inspected]:
    """The faces of ``image`` (BGR), largest first, with every field read off each."""
    from service.cli.contact_sheet import Inspected
    from service.intake.controls import NO_CONTROLS
    from service.intake.report import FaceReport, Look
    from service.intake.seen import embedded
    from service.values import FaceField

    engine = models.engine
    faces = engine.detect(image, limit)
    if not faces:
        return []
    embeddings = [embedded(engine, engine.align(image, face.points)) for face in faces]
    found = []
    for number, (face, embedding) in enumerate(zip(faces, embeddings, strict=True)):
        report = FaceReport()
        if models.reporter is not None:
            report = models.reporter.report(Look(image, face), frozenset(FaceField), NO_CONTROLS)
        similarity = float(embedding @ embeddings[0])
        neighbour = f"like face 1: score {models.scores.score(similarity):.1f} (cosine {similarity:.3f})"
        found.append(Inspected(face, report, neighbour if number else None))
    return found
