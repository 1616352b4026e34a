"""The command line: one file a command, imported when it is called for."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Final

import click

import relay

_COMMANDS: Final = (
    "serve",
    "demo",
    "simulate",
    "loadtest",
    "doctor",
    "keys",
    "config",
    "sessions",
    "recordings",
)


class _Commands(click.Group):
    """Commands by their module's name: `relay keys` does not wait for WebRTC to be imported."""

    def list_commands(self, _context: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, _context: click.Context, name: str) -> click.Command | None:
        if name not in _COMMANDS:
            return None
        command = getattr(import_module(f"relay.cli.{name}"), name)
        assert isinstance(command, click.Command)
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(relay.__version__, message="%(version)s")
def commands() -> None:
    """A WebRTC relay between browsers and OpenAI's Realtime API."""


def main() -> None:
    """Runs the command line and exits: 0 done, 1 failed, 2 wrong usage. An error is one line."""
    try:
        sys.exit(commands.main(prog_name="relay", standalone_mode=False))
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(error.exit_code)
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "relay"
        _exit(f"{error.format_message()} See `{path} --help`.", error.exit_code)
    except click.ClickException as error:
        _exit(error.format_message(), error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        _exit("stopped", 1)


def _exit(message: str, code: int) -> None:
    click.echo("relay: " + " ".join(message.split()), err=True)
    sys.exit(code)
