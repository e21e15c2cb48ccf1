"""``aipface feedback``: what callers said about answers."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from service.cli.common import administration, known_app, print_json

feedback = typer.Typer(help="What callers said about the answers they got.", no_args_is_help=True)

MOST_ITEMS = 10_000


@feedback.command("list")
def list_feedback(
    app_id: Annotated[str, typer.Option("--app", help="The app's id, as `aipface app list` shows it.")],
    *,
    limit: Annotated[int, typer.Option(min=1, max=MOST_ITEMS, help="Most items to show.")] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")] = False,
) -> None:
    """Show an app's feedback, newest first. Pictures are not kept, only their MD5."""
    with administration() as admin:
        app = known_app(admin, app_id)
        items = admin.feedback.latest(app, limit)
    if as_json:
        print_json([{"created": item.created.isoformat(), "content": item.content} for item in items])
        return
    if not items:
        typer.echo(f"There is no feedback of app {app_id}.", err=True)
    for item in items:
        typer.echo(f"{item.created.astimezone():%Y-%m-%d %H:%M:%S}  {json.dumps(item.content, ensure_ascii=False)}")
