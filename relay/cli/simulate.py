"""`relay simulate`: the upstream simulator alone."""

from __future__ import annotations

from typing import Any

import click

from relay.cli.common import Failed, run, stop_signals
from relay.simulator import Faults, Simulator, SimulatorOptions
from relay.simulator.errors import RejectedError
from relay.telemetry.logging import logging_to


def parse_faults(
    _context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]
) -> Faults:
    try:
        return Faults.parse(",".join(values))
    except RejectedError as error:
        raise click.BadParameter(error.message) from None


fail_option = click.option(
    "--fail",
    "faults",
    multiple=True,
    callback=parse_faults,
    metavar="FAULT",
    help="What shall go wrong: 401, 429, 500, refuse, slow, garbage, delay=S, drop=PERCENT, "
    "close-after=S, expire-after=S and more; may be given again.",
)


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8090, show_default=True, help="0 = any."
)
@click.option(
    "--udp-port",
    type=click.IntRange(0, 65535),
    default=0,
    show_default=True,
    help="Media; 0 = any.",
)
@click.option(
    "--tcp-port",
    type=click.IntRange(0, 65535),
    default=0,
    show_default=True,
    help="Media over TCP, where UDP is closed (passive ICE-TCP); 0 = any.",
)
@click.option("--load", is_flag=True, help="Replay stored Opus and decode nothing.")
@click.option("--video", is_flag=True, help="Accept VP8 and echo it.")
@fail_option
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    envvar="RELAY_TELEMETRY__LOG_LEVEL",
)
def simulate(log_level: str, **options: Any) -> None:
    """Play OpenAI's Realtime API, with faults on demand."""
    with logging_to(level=log_level):
        run(_simulate(SimulatorOptions(**options)))


async def _simulate(options: SimulatorOptions) -> None:
    simulator = Simulator(options)
    try:
        url = await simulator.start()
    except OSError as error:
        raise Failed(f"the simulator cannot listen: {error.strerror or error}") from None
    try:
        async with stop_signals() as stopped:
            click.echo(f"The simulator answers at {url}. Ctrl-C ends it.")
            await stopped.wait()
    finally:
        await simulator.stop()
