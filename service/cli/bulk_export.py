"""``aipface export``: an app's library as files that another instance can import."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from service.cli.common import administration, known_app, print_json
from service.cli.counting import counted
from service.cli.serve import INTERRUPTED, stopped_by_signals


def export(
    output: Annotated[Path, typer.Argument(help="A new folder, or with the ending .zip a new archive.")],
    *,
    app_id: Annotated[str, typer.Option("--app", metavar="APP_ID", help="The app whose library is written.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest as one JSON document.")] = False,
) -> None:
    """Write groups, users, embeddings and crops of an app; `aipface import` takes them into another app or instance.

    Needs no weights. The library may be in use: what is written is its state at one moment. It holds biometric data
    in the clear and is readable by its owner alone: encrypt what travels.
    """
    from service.bulk.export import export_library

    manifest = None
    with stopped_by_signals(), administration() as admin:
        app = known_app(admin, app_id)
        with admin.database.read(app.pk) as reader:
            faces = reader.faces.count_of_app(app.pk)
        with counted("faces", faces) as advance:
            manifest = export_library(admin.database, app.pk, output, lambda: advance(""))
    if manifest is None:
        raise typer.Exit(INTERRUPTED)
    if as_json:
        print_json(manifest.model_dump())
    else:
        typer.echo(f"{manifest.groups} groups, {manifest.users} users, {manifest.faces} faces: {output}")
