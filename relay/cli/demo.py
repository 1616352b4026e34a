"""`relay demo`: the server and the upstream simulator in one process; needs no key."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from relay.app import Prepared
from relay.cli.common import Failed, config_option, read_settings, run, stop_signals
from relay.cli.serve import prepared_for, serve_until
from relay.cli.simulate import fail_option
from relay.settings import Settings
from relay.simulator import Faults, Simulator, SimulatorOptions
from relay.telemetry.logging import logging_to


@click.command()
@config_option
@fail_option
def demo(config: Path | None, faults: Faults) -> None:
    """Try it out: the relay, and a simulated voice to talk to. No key is needed."""
    # The operator's own upstream, and the key for it, are none of the simulator's business.
    overrides = {"upstream.provider": "simulator", "upstream.api_key": None}
    loaded = read_settings(config, overrides)
    settings = loaded.settings
    if "recording.mode" not in loaded.origins:
        kept = settings.recording.model_copy(update={"mode": "audio"})
        settings = settings.model_copy(update={"recording": kept})
    telemetry = settings.telemetry
    with logging_to(level=telemetry.log_level, log_format=telemetry.log_format):
        options = SimulatorOptions(faults=faults, video=settings.media.video == "on")
        run(_demo(prepared_for(settings), options))


async def _demo(prepared: Prepared, options: SimulatorOptions) -> None:
    async with stop_signals() as stopped:
        simulator = Simulator(options)
        try:
            url = await simulator.start()
        except OSError as error:
            raise Failed(f"the simulator cannot listen: {error.strerror or error}") from None
        try:
            await serve_until(stopped, _calling(prepared, url))
        finally:
            await simulator.stop()


def _calling(prepared: Prepared, url: str) -> Prepared:
    settings: Settings = prepared.settings
    upstream = settings.upstream.model_copy(update={"url": url})
    return replace(prepared, settings=settings.model_copy(update={"upstream": upstream}))
