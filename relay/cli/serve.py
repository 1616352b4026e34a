"""`relay serve`: the server."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path

import click

from relay.app import CannotStart, Prepared, prepare, serving
from relay.cli.common import Failed, config_option, read_settings, run, stop_signals
from relay.settings import Settings
from relay.telemetry.logging import logging_to


@click.command()
@config_option
def serve(config: Path | None) -> None:
    """Serve calls until Ctrl-C or SIGTERM, then hang up what is left."""
    settings = read_settings(config).settings
    telemetry = settings.telemetry
    with logging_to(level=telemetry.log_level, log_format=telemetry.log_format):
        run(_serve(prepared_for(settings)))


async def _serve(prepared: Prepared) -> None:
    async with stop_signals() as stopped:
        await serve_until(stopped, prepared)


def prepared_for(settings: Settings) -> Prepared:
    """What the server needs before it starts; raises Failed."""
    try:
        return prepare(settings)
    except CannotStart as error:
        raise Failed(str(error)) from None


async def serve_until(stopped: asyncio.Event, prepared: Prepared) -> None:
    """Serves, says where, and ends once `stopped` is set. Raises Failed."""
    try:
        async with serving(prepared) as server:
            keep_collections_short()
            click.echo(f"Open {server.url} in a browser. Ctrl-C ends it.")
            click.echo(f"The dashboard is {server.dashboard_url}")
            await stopped.wait()
    except CannotStart as error:
        raise Failed(str(error)) from None


def keep_collections_short() -> None:
    """What the start has made stays until the end: the garbage collector need not look at it again.
    A full collection stops packets too, for 26 ms with nothing but the relay's own modules."""
    gc.collect()
    gc.freeze()
