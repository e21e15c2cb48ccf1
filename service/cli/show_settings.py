"""``aipface settings``: what is in force, and the table of ``docs/settings.md``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.common import effective_settings, print_json

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo


def show_settings(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the table of docs/settings.md.")] = False,
) -> None:
    """Show the effective settings; secrets are masked."""
    if markdown:
        typer.echo(settings_table())
        return
    values = effective_settings().model_dump(mode="json")
    if as_json:
        print_json(values)
        return
    for name, value in values.items():
        shown = ", ".join(value) if isinstance(value, list) else "" if value is None else value
        typer.echo(f"{name} = {shown}")


def settings_table() -> str:
    """Every setting as a row of a Markdown table."""
    from service.settings import PREFIX, Settings

    rows = ["| environment | file | default | meaning |", "|---|---|---|---|"]
    own = [name for name in Settings.model_fields if name in Settings.__annotations__]  # before those of single parts
    for name in [*own, *(name for name in Settings.model_fields if name not in own)]:
        field = Settings.model_fields[name]
        rows.append(f"| `{PREFIX}{name.upper()}` | `{name}` | {_shown_default(field)} | {field.description} |")
    return "\n".join(rows)


def _shown_default(field: FieldInfo) -> str:
    from service.settings import SHOWN_DEFAULT

    extra: Any = field.json_schema_extra
    if isinstance(extra, dict) and SHOWN_DEFAULT in extra:
        return str(extra[SHOWN_DEFAULT])
    default = field.default
    if default in {None, ()}:
        return "none"
    if isinstance(default, tuple):
        return f"`{','.join(default)}`"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    return f"`{default:g}`" if isinstance(default, float) else f"`{default}`"
