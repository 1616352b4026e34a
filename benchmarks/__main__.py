"""`python -m benchmarks`: the relay and its yardsticks in one run, as a table and as JSON."""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from . import machine, result
from .bench import Bench
from .figures import Verdict, markdown, table
from .plan import FULL, QUICK, Plan

_ROOT = Path(__file__).parent.parent
_FOLDER = _ROOT / ".cache" / "bench"
_PARTS = ("relay", "recording", "loss", "churn", "obvious")


def main() -> int:
    """0 whatever the figures are; 1 when one of them could not be measured."""
    options = _options()
    if sys.platform != "linux":
        print("The benchmark reads /proc and runs on Linux alone.", file=sys.stderr)
        return 1
    plan = QUICK if options.quick else FULL
    site = machine.Site(_FOLDER, pinned=not options.no_pin)
    site.folder.mkdir(parents=True, exist_ok=True)
    bench = Bench(plan, site, _say)
    with machine.pinned_to(site.load_core):
        found = asyncio.run(bench.run(set(options.only or ())))
    rows, yardsticks = result.figures_of(found, plan), result.yardsticks_of(found, plan)
    if options.only:
        rows, yardsticks = result.measured(rows), result.measured(yardsticks)
    print(table(rows + yardsticks))
    facts = machine.facts(site)
    print(
        f"\n{plan.most}\nOn {facts['cores']} × {facts['cpu']}; held to cores: {facts['pinning']}."
    )
    for line in result.disturbed(found):
        print(f"Disturbed: {line}")
    figures = [figure.to_json() for figure in rows + yardsticks]
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.with_suffix(".md").write_text(markdown(rows + yardsticks))
    _write(options.output, plan, {"machine": facts, "figures": figures, **result.to_json(found)})
    return 1 if any(figure.verdict is Verdict.FAILED for figure in rows + yardsticks) else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="short windows: for a first look")
    parser.add_argument("--no-pin", action="store_true", help="let the scheduler choose the cores")
    parser.add_argument("--only", action="append", choices=_PARTS, help="measure this part alone")
    parser.add_argument(
        "--output",
        type=Path,
        default=_ROOT / ".cache" / "bench.json",
        help="where the JSON goes, and beside it the table as Markdown",
    )
    return parser.parse_args()


def _say(text: str) -> None:
    if sys.stderr.isatty():
        print(text, file=sys.stderr)


def _write(output: Path, plan: Plan, found: dict[str, Any]) -> None:
    report = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "quick": plan is QUICK,
        "load_model": plan.most.to_json() | {"text": str(plan.most)},
        **found,
    }
    output.write_text(json.dumps(report, indent=1) + "\n")
    print(f"Written to {output}")


def _commit() -> str:
    """Which code was measured; empty outside a repository."""
    git = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return git.stdout.strip()


if __name__ == "__main__":
    raise SystemExit(main())
