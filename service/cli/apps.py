"""``aipface app``: who may call the API."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.common import administration, known_app, print_json
from service.cli.failures import MISUSED, Failure

if TYPE_CHECKING:
    from service.values import App, AppCredentials

apps = typer.Typer(help="Apps: who may call the API.", no_args_is_help=True)
envelope_keys = typer.Typer(help="Keys that capture envelopes are sealed with.", no_args_is_help=True)
apps.add_typer(envelope_keys, name="envelope-key")

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
AppId = Annotated[str, typer.Argument(metavar="APP_ID", help="The app's id, as `aipface app list` shows it.")]


_LIMIT = "N|none"


@apps.command("create")
def create(
    name: Annotated[str, typer.Argument(help="A name for people.")],
    *,
    as_json: AsJson = False,
    permissions: Annotated[
        str | None,
        typer.Option(help="Calls the app may make, comma separated, e.g. detect,match,faceset/*; default: all."),
    ] = None,
) -> None:
    """Create an app and print its keys; the secret key is shown only now."""
    granted = _permissions(permissions)
    if not name.strip():
        raise Failure("an app needs a name", MISUSED)
    check_output()
    with administration() as admin:
        show_credentials(admin.apps.create(name.strip(), granted), as_json=as_json)


@apps.command("list")
def list_apps(*, as_json: AsJson = False) -> None:
    """List the apps."""
    with administration() as admin:
        found = admin.apps.list()
    if as_json:
        print_json([_as_dict(app) for app in found])
        return
    if not found:
        typer.echo("There is no app yet: aipface app create NAME", err=True)
    for app in found:
        state = "enabled" if app.enabled else "disabled"
        allowed = "all calls" if app.permissions is None else ",".join(sorted(app.permissions))
        typer.echo(f"{app.app_id}  {app.api_key}  {state:8}  {app.name}  ({allowed})")


@apps.command("rotate")
def rotate(app_id: AppId, *, as_json: AsJson = False) -> None:
    """Give an app a new secret key and revoke all its tokens."""
    check_output()
    with administration() as admin:
        known_app(admin, app_id)
        show_credentials(admin.apps.rotate(app_id), as_json=as_json)


@apps.command("disable")
def disable(app_id: AppId) -> None:
    """Keep an app out; its library stays."""
    _set_enabled(app_id, enabled=False)


@apps.command("enable")
def enable(app_id: AppId) -> None:
    """Let a disabled app in again."""
    _set_enabled(app_id, enabled=True)


@apps.command("quota")
def quota(
    app_id: AppId,
    *,
    qps: Annotated[str | None, typer.Option(metavar=_LIMIT, help="Requests a second.")] = None,
    daily: Annotated[str | None, typer.Option(metavar=_LIMIT, help="Requests a day.")] = None,
    total: Annotated[str | None, typer.Option(metavar=_LIMIT, help="Requests ever.")] = None,
    concurrent: Annotated[str | None, typer.Option(metavar=_LIMIT, help="Requests answered at once.")] = None,
    as_json: AsJson = False,
) -> None:
    """Set how much an app may ask, and print it; limits that are not named stay. `none` takes one away."""
    asked = {"qps": qps, "daily": daily, "total": total, "concurrent": concurrent}
    changes = {name: _limit(name, text) for name, text in asked.items() if text is not None}
    with administration() as admin:
        app = known_app(admin, app_id)
        limits = dataclasses.replace(app.limits, **changes)
        if changes:
            admin.quotas.set_limits(app, limits)
    _show_limits(dataclasses.asdict(limits), as_json=as_json)


@apps.command("usage")
def usage(app_id: AppId, *, as_json: AsJson = False) -> None:
    """Tell what an app asked: requests, errors among their answers, and requests refused, by day and call."""
    with administration() as admin:
        found = admin.quotas.usage(known_app(admin, app_id))
    limits, standing = dataclasses.asdict(found.limits), found.standing
    if as_json:
        calls = [{**dataclasses.asdict(each), "day": each.day.isoformat()} for each in found.calls]
        taken = {"daily": standing.day_taken, "total": standing.total_taken}
        print_json({"app_id": app_id, "limits": limits, "taken": taken, "calls": calls})
        return
    if not found.calls:
        typer.echo("The app has asked nothing yet.", err=True)
    for each in found.calls:
        typer.echo(f"{each.day}  {each.requests:>10}  {each.errors:>8}  {each.refused:>8}  {each.call}")


@envelope_keys.command("show")
def show_envelope_keys(app_id: AppId) -> None:
    """Print the app's public keys as a JWK set; makes them when there are none yet."""
    with administration() as admin:
        print_json({"keys": admin.envelope_keys.published(known_app(admin, app_id))})


@envelope_keys.command("rotate")
def rotate_envelope_keys(
    app_id: AppId,
    *,
    at_once: Annotated[bool, typer.Option("--at-once", help="Refuse the old keys from now on.")] = False,
) -> None:
    """Give an app new keys and print the public ones; the old ones are accepted for `envelope_key_grace` seconds."""
    with administration() as admin:
        print_json({"keys": admin.envelope_keys.rotate(known_app(admin, app_id), at_once=at_once)})


def check_output() -> None:
    """To be called before keys are made: a standard output that was closed (``>&-``) takes them without a word.

    Raises ``Failure``.
    """
    if sys.stdout is None:
        raise Failure("standard output is closed, and the keys could be shown nowhere")


def show_credentials(credentials: AppCredentials, *, as_json: bool, introduction: str | None = None) -> None:
    """Print the three things a developer needs. Raises ``Failure`` where standard output does not take them."""
    content = {
        "app_id": credentials.app_id,
        "api_key": credentials.api_key,
        "secret_key": credentials.secret_key,
    }
    try:
        if as_json:
            print_json(content)
            return
        if introduction is not None:
            typer.echo(introduction)
        for key, value in content.items():
            typer.echo(f"{key:10} = {value}")
        if introduction is not None:
            typer.echo()
    except OSError as error:
        raise Failure(
            f"the keys of app {credentials.app_id} cannot be shown ({error.strerror}): "
            f"aipface app rotate {credentials.app_id} shows new ones"
        ) from None


def _limit(name: str, text: str) -> int | None:
    from service.values import LARGEST_LIMITS

    if text.lower() == "none":
        return None
    most = getattr(LARGEST_LIMITS, name)
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text) <= most:
        raise Failure(f"--{name} takes a whole number of 1 to {most}, or none", MISUSED)
    return int(text)


def _show_limits(limits: Mapping[str, int | None], *, as_json: bool) -> None:
    if as_json:
        print_json(limits)
        return
    for name, limit in limits.items():
        typer.echo(f"{name:10} = {'none' if limit is None else limit}")


def _set_enabled(app_id: str, *, enabled: bool) -> None:
    with administration() as admin:
        known_app(admin, app_id)
        admin.apps.set_enabled(app_id, enabled=enabled)
    typer.echo(f"app {app_id} is {'enabled' if enabled else 'disabled'}", err=True)


def _permissions(text: str | None) -> frozenset[str] | None:
    if text is None:
        return None
    from service.access.permissions import expand

    try:
        return expand(name.strip() for name in text.split(",") if name.strip())
    except ValueError as error:
        raise Failure(str(error), MISUSED) from None


def _as_dict(app: App) -> dict[str, object]:
    return {
        "app_id": app.app_id,
        "api_key": app.api_key,
        "name": app.name,
        "enabled": app.enabled,
        "permissions": None if app.permissions is None else sorted(app.permissions),
    }
