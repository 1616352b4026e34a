"""What is made of a recording after its call: `python -m relay.taps.render DIR WORK…`.

A program of its own: decoding, encoding and reading a long record again belong into no process that
carries calls. It runs at the lowest priority, and alone on its folder. `mix` writes `mix.ogg` and
`waveform` writes `waveform.json`, both from one decoding, each put in place when it is complete;
`session.json` says how far they are. `reading` is for a call whose process died: what the record
tells is read again, and the session is `unfinished` from then on.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Literal, Protocol, get_args

import av

from relay.core.pricing import InvalidPrices
from relay.stores import locks
from relay.stores.audio import RATE
from relay.stores.folders import Folder
from relay.stores.locks import FolderInUse
from relay.stores.reading import state_of
from relay.taps.mix import MIX, MixWriter
from relay.taps.restore import restore_dead
from relay.taps.usage import load_prices
from relay.taps.voices import FRAME_SAMPLES, voices, voices_duration_s
from relay.taps.waveform import WAVEFORM, WaveformWriter

NICE: Final = 19
BUSY: Final = 3
"""The exit code where somebody else renders the same folder."""

Work = Literal["reading", "mix", "waveform"]
FILES: Final[dict[Work, str]] = {"mix": MIX, "waveform": WAVEFORM}

_TELL_EVERY_S: Final = 1.0


class NoAudio(Exception):  # named by the situation
    """The folder has no audio that could be decoded."""


class Orphaned(Exception):  # named by the situation
    """Who wanted the work is gone."""


class _Writer(Protocol):
    def add(self, client: bytes, upstream: bytes) -> None: ...

    def finish(self) -> None: ...

    def abandon(self) -> None: ...


Progress = Callable[[float], None]
"""From 0 to 1."""


def render(folder: Folder, works: Collection[Work], progress: Progress = lambda _: None) -> None:
    """Makes the files of `works`. Raises OSError, av.FFmpegError, NoAudio; what was there before is
    then as it was. In memory that does not grow with the call, but for the waveform's points."""
    whole_s = voices_duration_s(folder)
    if not whole_s:
        raise NoAudio("There is no audio in this folder.")
    writers: list[_Writer] = []
    try:
        if "mix" in works:
            writers.append(MixWriter(folder.path))
        if "waveform" in works:
            writers.append(WaveformWriter(folder.path, whole_s))
        for n, (client, upstream) in enumerate(voices(folder), start=1):
            for writer in writers:
                writer.add(client, upstream)
            progress(min(1.0, n * FRAME_SAMPLES / RATE / whole_s))
        for writer in writers:
            writer.finish()
    finally:
        for writer in writers:
            writer.abandon()


def remove_parts(folder: Folder) -> None:
    """Takes away what a rendering that was killed has left; nobody may render meanwhile."""
    for name in FILES.values():
        for part in folder.path.glob(f".{name}.*"):
            with suppress(OSError):
                part.unlink()


class _Lines:
    """The lines of a session that say how its mix and its waveform are."""

    def __init__(self, folder: Folder, works: Iterable[Work], parent: int) -> None:
        self._folder = folder
        self._works = tuple(works)
        self._parent = parent
        self._told_at = 0.0

    def progress(self, share: float) -> None:
        """Raises Orphaned, for who was killed could not end us, and FileNotFoundError where the
        folder was deleted."""
        if time.monotonic() >= self._told_at + _TELL_EVERY_S:
            self._told_at = time.monotonic()
            if os.getppid() != self._parent:
                raise Orphaned("The process that wanted this is gone.")
            self.tell("running", progress=round(share, 3))

    def tell(self, state: str, **more: Any) -> None:
        try:
            self._folder.update_session({w: {"state": state, **more} for w in self._works})
        except FileNotFoundError:
            raise
        except OSError:
            pass  # the files are worth more than their lines


def _work(folder: Folder, works: Sequence[Work], prices: Path | None, parent: int) -> None:
    remove_parts(folder)
    if "reading" in works:
        restore_dead(folder, load_prices(prices))
    missing = [work for work in works if work in FILES and not _is_made(folder, work)]
    if not missing:
        return
    lines, began = _Lines(folder, missing, parent), time.monotonic()
    lines.tell("running", progress=0.0)
    try:
        render(folder, missing, lines.progress)
    except (OSError, NoAudio, av.FFmpegError) as error:
        with suppress(FileNotFoundError):
            lines.tell("failed", reason=str(error))
        raise
    lines.tell("done", progress=1.0, took_s=round(time.monotonic() - began, 3))


def _is_made(folder: Folder, work: Work) -> bool:
    """Another process may have been quicker."""
    is_done = state_of(folder.session(), work) == "done"
    return is_done and (folder.path / FILES[work]).is_file()


def main(arguments: Sequence[str]) -> int:
    """0 done, 1 failed (a line says why), 2 wrong usage, BUSY."""
    parser = argparse.ArgumentParser(prog="python -m relay.taps.render", description=__doc__)
    parser.add_argument("directory", type=Path, help="a conversation's folder")
    parser.add_argument("works", nargs="+", choices=get_args(Work), metavar="WORK")
    parser.add_argument("--prices", type=Path, help="upstream.prices")
    asked = parser.parse_args(arguments)
    parent, folder = os.getppid(), Folder(asked.directory)
    step_back()
    try:
        with locks.rendering(folder):
            _work(folder, asked.works, asked.prices, parent)
    except FolderInUse as error:
        print(error, file=sys.stderr)
        return BUSY
    except (OSError, NoAudio, Orphaned, InvalidPrices, av.FFmpegError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def step_back() -> None:
    """Leaves the processor to everybody else. Where a relay wakes for a packet on the core that a
    rendering has, `nice` alone lets it wait for milliseconds."""
    os.nice(NICE)
    if sys.platform == "linux":
        with suppress(PermissionError):  # some containers
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
