"""`relay doctor`: what of a call will work on this machine, and what to do about the rest."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Final

import click

from relay.cli.common import Failed, config_option, read_settings, run
from relay.doctor import Finding, Status, examine
from relay.settings import Settings
from relay.telemetry.logging import logging_to

_MARKS: Final = {
    Status.GOOD: click.style("good", fg="green"),
    Status.WARNING: click.style("warn", fg="yellow"),
    Status.FATAL: click.style("FAIL", fg="red"),
    Status.OFF: " -- ",
}


@click.command()
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def doctor(config: Path | None, as_json: bool) -> None:
    """Say what of a call will work here. Opens a call at the upstream and hangs it up at once."""
    settings = read_settings(config).settings
    with logging_to(level="error", log_format="console"):
        findings = run(_examined(settings, show=not as_json))
    fatal = [finding for finding in findings if finding.status is Status.FATAL]
    if as_json:
        found = {"works": not fatal, "findings": [asdict(finding) for finding in findings]}
        click.echo(json.dumps(found, indent=2))
    if fatal:
        raise Failed(f"a call could not work: {fatal[0].detail}")


async def _examined(settings: Settings, *, show: bool) -> list[Finding]:
    findings: list[Finding] = []
    async for finding in examine(settings):
        findings.append(finding)
        if show:
            _print(finding)
    return findings


def _print(finding: Finding) -> None:
    took = "" if finding.elapsed_ms is None else f"  ({finding.elapsed_ms:.0f} ms)"
    click.echo(f"{_MARKS[finding.status]}  {finding.check:<20} {finding.detail}{took}")
    if finding.advice:
        click.echo(f"{'':<28}{finding.advice}")
