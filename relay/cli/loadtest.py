"""`relay loadtest`: many voice calls with real WebRTC, and what they met."""

from __future__ import annotations

import json
import sys

import click

from relay.cli.common import run
from relay.loadtest.model import LoadModel
from relay.loadtest.run import LoadOptions, run_load
from relay.loadtest.signaling import calls_url
from relay.loadtest.speech import stored_payloads


@click.command()
@click.argument("url")
@click.option(
    "--sessions", type=click.IntRange(1, 10_000), default=10, show_default=True, help="Calls."
)
@click.option(
    "--seconds",
    type=click.IntRange(1, 86_400),
    default=10,
    show_default=True,
    help="How long to measure, once all calls are up.",
)
@click.option(
    "--rate",
    type=click.FloatRange(0.1, 1000),
    default=20.0,
    show_default=True,
    help="Calls opened a second.",
)
@click.option(
    "--api-key",
    envvar="RELAY_LOADTEST_API_KEY",
    help="Sent as bearer token; better given as RELAY_LOADTEST_API_KEY.",
)
@click.option(
    "--direct",
    "direct_url",
    metavar="URL",
    help="The upstream itself: measured the same way afterwards, to tell what the relay adds.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def loadtest(
    url: str,
    sessions: int,
    seconds: int,
    rate: float,
    api_key: str | None,
    direct_url: str | None,
    as_json: bool,
) -> None:
    """Open voice calls at URL, play speech, and print a table.

    URL is a relay's address (http://127.0.0.1:8080) or an OpenAI-shaped endpoint. The upstream
    behind it should be `relay simulate --load`: it echoes the packets whose way is measured.
    """
    for given in filter(None, (url, direct_url)):
        try:
            calls_url(given)
        except ValueError as error:
            raise click.UsageError(str(error)) from error
    options = LoadOptions(
        url=url,
        model=LoadModel(sessions, opened_per_s=rate),
        seconds=seconds,
        api_key=api_key,
        direct_url=direct_url,
    )
    progress = _show if sys.stderr.isatty() else _stay_quiet
    report = run(run_load(options, stored_payloads(), progress))
    click.echo(json.dumps(report.to_json()) if as_json else str(report))
    if report.failed:
        raise SystemExit(1)


def _show(what: str, done: int, total: int) -> None:
    click.echo(f"\r\x1b[K{what} {done}/{total}", err=True, nl=False)
    if done + 1 >= total:
        click.echo("\r\x1b[K", err=True, nl=False)


def _stay_quiet(what: str, done: int, total: int) -> None:
    """Piped: nobody watches."""
