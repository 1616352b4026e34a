"""`relay keys`: makes relay API keys."""

from __future__ import annotations

import click

from relay.policy.keys import create_key, hash_of
from relay.settings import ApiKey


@click.group()
def keys() -> None:
    """Relay API keys."""


def _key_id(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    try:
        return ApiKey(id=value, hash="0" * 64).id
    except ValueError:
        raise click.BadParameter("1 to 64 letters, digits, '_', '.' or '-'.") from None


@keys.command()
@click.argument("key_id", metavar="ID", callback=_key_id)
def create(key_id: str) -> None:
    """Make a key called ID. It is printed once, to standard output, and stored nowhere."""
    key = create_key()
    click.echo(key)
    click.echo(
        "Keep it: it is not shown again. The relay takes it once this line is in `auth.keys` of "
        f'its settings:\n{{ id = "{key_id}", hash = "{hash_of(key)}" }},',
        err=True,
    )
