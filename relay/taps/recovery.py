"""After a start: calls whose process died get what they lack, and what was to be rendered is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

import structlog

from relay.stores.folders import Folder
from relay.stores.reading import days_of, folders_of, state_of
from relay.taps.render import FILES, Work
from relay.taps.renderer import Renderer
from relay.taps.restore import is_dead
from relay.taps.voices import SIDES

BATCH: Final = 50
PAUSE_S: Final = 0.05
"""Between two batches: running calls come first. 10,000 folders are looked through in some 15 s."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Found:
    """A folder that lacks something. `duration_s` None: it is not known."""

    folder: Folder
    works: frozenset[Work]
    duration_s: float | None


class Recovery:
    """One look through all folders. `run` is its only task, and its owner's; it ends by itself.

    `holds` says which calls run in this process, `works` what is made of a call's audio.
    """

    def __init__(
        self,
        directory: Path,
        renderer: Renderer,
        holds: Callable[[str], bool],
        works: Collection[Work],
    ) -> None:
        self._directory = directory
        self._renderer = renderer
        self._holds = holds
        self._works = frozenset(works)

    async def run(self) -> None:
        """Gives the renderer what it has to do, the newest first, and no more than it can hold."""
        dead = 0
        try:
            for day in await asyncio.to_thread(days_of, self._directory):
                folders = iter(await asyncio.to_thread(folders_of, self._directory, day))
                while batch := list(islice(folders, BATCH)):
                    for found in await asyncio.to_thread(self._look, batch):
                        await self._renderer.has_room()
                        dead += "reading" in found.works
                        self._renderer.put(found.folder, found.works, found.duration_s)
                    await asyncio.sleep(PAUSE_S)
        except FileNotFoundError:
            return  # nothing was ever recorded
        except OSError as error:
            log.warning("recovery.failed", reason=str(error))
        if dead:
            log.info("recovery.found", unfinished=dead)

    def _look(self, folders: Iterable[Folder]) -> list[Found]:
        """By a thread."""
        found = (self._look_at(folder) for folder in folders if not self._holds(folder.id))
        return [one for one in found if one.works]

    def _look_at(self, folder: Folder) -> Found:
        session = folder.session()
        duration_s = session.get("duration_s")
        works: set[Work] = {w for w in FILES if state_of(session, w) in ("waiting", "running")}
        if is_dead(folder):
            works.add("reading")
            works |= self._works if any(map(folder.audio, SIDES)) else set()
        if not isinstance(duration_s, int | float):
            duration_s = None
        return Found(folder, frozenset(works), duration_s)
