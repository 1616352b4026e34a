"""docs/operations.md holds every command, log event and metric; other tests hold the rest."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import click

from relay.cli import commands

ROOT = Path(__file__).parents[2]
DOCUMENTATION = (ROOT / "docs" / "operations.md").read_text()
LEVELS = {"debug", "info", "warning", "error", "exception"}


def leaves(command: click.Command, path: str) -> Iterator[str]:
    """The commands a person can type, `relay keys create` and the like."""
    if not isinstance(command, click.Group):
        yield path
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        below = command.get_command(context, name)
        assert below is not None
        yield from leaves(below, f"{path} {name}")


def logged_events() -> set[str]:
    """The first argument of every `log.info("noun.verb_past", …)` in relay/."""
    calls = (
        node
        for file in (ROOT / "relay").rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call) and node.args
    )
    return {
        call.args[0].value
        for call in calls
        if isinstance(call.func, ast.Attribute) and call.func.attr in LEVELS
        if isinstance(call.args[0], ast.Constant) and isinstance(call.args[0].value, str)
        if re.fullmatch(r"[a-z_]+\.[a-z_]+", call.args[0].value)
    }


def test_documentation_names_every_command() -> None:
    found = set(leaves(commands, "relay"))

    assert "relay serve" in found
    assert {command for command in found if f"`{command}`" not in DOCUMENTATION} == set()


def test_documentation_names_every_log_event_and_no_other() -> None:
    logged = logged_events()

    documented = set(re.findall(r"`([a-z_]+\.[a-z_]+)`", events_section()))

    assert len(logged) > 10
    assert documented == logged


def test_documentation_names_every_metric() -> None:
    source = (ROOT / "relay" / "telemetry" / "metrics.py").read_text()
    metrics = set(re.findall(r'"(relay_[a-z_]+)"', source))

    assert len(metrics) >= 5
    assert {name for name in metrics if f"`{name}" not in DOCUMENTATION} == set()


def events_section() -> str:
    """The first column of the table of log events."""
    section = DOCUMENTATION.split("## Log events")[1].split("\n## ")[0]
    return "\n".join(line.split("|")[1] for line in section.splitlines() if line.startswith("| `"))
