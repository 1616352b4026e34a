"""Runs a load from its first call to its report."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .load import Load
from .model import LoadModel
from .report import LoadReport
from .voice import StampedVoice, Voice

WARM_UP_S = 2.0
"""After the last call came about: its setup is not what is measured."""

Progress = Callable[[str, int, int], None]
"""(what is being done, how far, out of how much)"""


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """`direct_url` is the upstream itself, for the same load after the first."""

    url: str
    model: LoadModel
    seconds: int
    api_key: str | None = None
    direct_url: str | None = None


async def run_load(
    options: LoadOptions, payloads: Sequence[bytes], progress: Progress
) -> LoadReport:
    """Bounded by the opening of the calls, `seconds` and some timeouts; may be cancelled."""
    report = await _run(options, options.url, payloads, progress)
    if options.direct_url is None:
        return report
    direct = await _run(options, options.direct_url, payloads, progress)
    return LoadReport(
        url=report.url,
        model=report.model,
        openings=report.openings,
        window=report.window,
        lost=report.lost,
        direct=direct.window,
    )


async def _run(
    options: LoadOptions, url: str, payloads: Sequence[bytes], progress: Progress
) -> LoadReport:
    model = options.model

    def voice_of(slot: int) -> Voice:
        return StampedVoice(slot, model, payloads)

    def opened(count: int) -> None:
        progress("opening", count, model.calls)

    load = Load(url, model, voice_of, api_key=options.api_key, progress=opened)
    try:
        openings = await load.open()
        await asyncio.sleep(WARM_UP_S if openings.opened else 0)
        load.begin_window()
        for second in range(options.seconds if openings.opened else 0):
            progress("measuring", second, options.seconds)
            await asyncio.sleep(1)
        window = load.end_window()
        lost = openings.opened - load.calls_up
    finally:
        await load.close()
    return LoadReport(url=url, model=model, openings=openings, window=window, lost=lost)
