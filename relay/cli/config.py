"""`relay config`: whether the settings can be used, and what they are."""

from __future__ import annotations

from pathlib import Path

import click

from relay.cli.common import Failed, config_option, read_settings
from relay.settings import InvalidSettings, load
from relay.settings.catalogue import values


@click.group()
def config() -> None:
    """The configuration."""


@config.command()
@config_option
def check(config: Path | None) -> None:
    """Say whether the settings can be used, and each fault on its line if not."""
    try:
        load(config)
    except InvalidSettings as error:
        for problem in error.problems:
            click.echo(problem, err=True)
        count = len(error.problems)
        raise Failed(f"the settings have {count} fault{'s' if count > 1 else ''}") from None
    click.echo("The settings can be used.")


@config.command()
@config_option
def show(config: Path | None) -> None:
    """Print the effective settings, secrets masked, and where each came from."""
    loaded = read_settings(config)
    for name, value in values(loaded.settings):
        origin = loaded.origins.get(name, "default")
        click.echo(f"{name} = {value}  # {origin}")
