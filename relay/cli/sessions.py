"""`relay sessions`: the operator's API from a terminal."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
import click

from relay.cli.common import Failed, config_option, read_settings, run
from relay.settings import Settings

TIMEOUT: Final = aiohttp.ClientTimeout(total=None, sock_connect=10.0, sock_read=60.0)
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_COLUMNS: Final = ("id", "state", "started_at", "duration_s", "model", "outcome", "cost_usd")


@dataclass(frozen=True, slots=True)
class Target:
    """The server that is asked, and the token that it asks for."""

    url: str
    token: str | None


@click.group()
@config_option
@click.option(
    "--url", metavar="URL", help="The server; default: where the settings have its operator's side."
)
@click.pass_context
def sessions(context: click.Context, config: Path | None, url: str | None) -> None:
    """Calls of a running server, live and stored. The token is `admin.token`."""
    settings = read_settings(config).settings
    token = settings.admin.token
    context.obj = Target(
        url or _own_url(settings), None if token is None else token.get_secret_value()
    )


@sessions.command("list")
@click.option("--state", type=click.Choice(["live", "ended", "unfinished"]))
@click.option("--search", "q", metavar="WORDS", help="What was said in them.")
@click.option("--limit", type=click.IntRange(1, 200), default=50, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.pass_obj
def list_(target: Target, state: str | None, q: str | None, limit: int, as_json: bool) -> None:
    """List sessions, the latest first."""
    given = {"state": state, "q": q, "limit": str(limit)}
    found = run(_ask(target, "", {name: value for name, value in given.items() if value}))
    for row in found["sessions"]:
        click.echo(json.dumps(row) if as_json else _line(row))
    if found["problem"]:
        click.echo(f"relay: stored sessions are missing: {_clean(found['problem'])}", err=True)


@sessions.command()
@click.argument("session_id")
@click.pass_obj
def show(target: Target, session_id: str) -> None:
    """Show all that is known of a session, as JSON."""
    click.echo(json.dumps(run(_ask(target, f"/{_checked(session_id)}")), indent=2))


@sessions.command()
@click.argument("session_id")
@click.pass_obj
def events(target: Target, session_id: str) -> None:
    """Print a session's events, one JSON object a line; of a live call until it ends."""
    run(_events(target, _checked(session_id)))


@sessions.command()
@click.argument("session_id")
@click.pass_obj
def hangup(target: Target, session_id: str) -> None:
    """Hang up a live call."""
    run(_ask(target, f"/{_checked(session_id)}", method="DELETE"))


# --- asking ---


async def _ask(
    target: Target, path: str, query: dict[str, str] | None = None, *, method: str = "GET"
) -> Any:
    async with _asked(target, path, query, method) as response:
        return await response.json() if response.status == 200 else None


async def _events(target: Target, session_id: str) -> None:
    async with _asked(target, f"/{session_id}/events", None, "GET") as response:
        is_live = response.content_type == "text/event-stream"
        buffer = b""
        async for portion in response.content.iter_any():  # lines may be longer than aiohttp's
            *lines, buffer = (buffer + portion).split(b"\n")
            for line in lines:
                text = _clean(line.decode(errors="replace"))
                if is_live and text.startswith("data: ") and text != "data: {}":
                    click.echo(text.removeprefix("data: "))
                elif not is_live:
                    click.echo(text)
            sys.stdout.flush()


@asynccontextmanager
async def _asked(
    target: Target, path: str, query: dict[str, str] | None, method: str
) -> AsyncIterator[aiohttp.ClientResponse]:
    """The answer, which is no error. Raises Failed."""
    headers = {} if target.token is None else {"Authorization": f"Bearer {target.token}"}
    url = f"{target.url.rstrip('/')}/admin/v1/sessions{path}"
    try:
        async with (
            aiohttp.ClientSession(timeout=TIMEOUT) as http,
            http.request(method, url, params=query, headers=headers) as response,
        ):
            if response.status >= 400:
                raise Failed(await _reason(response))
            yield response
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise Failed(f"{target.url} does not answer: {error or type(error).__name__}") from None


async def _reason(response: aiohttp.ClientResponse) -> str:
    try:
        return _clean(str((await response.json())["error"]["message"]))
    except (aiohttp.ClientError, ValueError, KeyError, TypeError):
        return f"the server answered with {response.status}"


def _own_url(settings: Settings) -> str:
    http, admin = settings.http, settings.admin
    host = http.host if admin.host is None else admin.host
    if host in ("", "0.0.0.0", "::"):  # noqa: S104
        host = "127.0.0.1"
    scheme = "http" if http.tls_cert is None else "https"
    port = http.port if admin.port is None else admin.port
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"


# --- showing ---


def _line(row: dict[str, Any]) -> str:
    values = (row.get(name) for name in _COLUMNS)
    return "  ".join("-" if value is None else _clean(str(value)) for value in values)


def _clean(text: str) -> str:
    """What a terminal shows, and does not obey."""
    return _CONTROLS.sub("\N{REPLACEMENT CHARACTER}", text)


def _checked(session_id: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_\-]{1,128}", session_id):
        raise click.BadParameter("is no session's id", param_hint="SESSION_ID")
    return session_id
