"""A periodic wake-up finer than the event loop's own timers, which count whole milliseconds."""

from __future__ import annotations

import asyncio
import ctypes
import os
import sys
from collections.abc import Callable

_CLOCK_MONOTONIC = 1
_NONBLOCK_CLOEXEC = os.O_NONBLOCK | getattr(os, "O_CLOEXEC", 0)


class _TimeSpec(ctypes.Structure):
    _fields_ = (("tv_sec", ctypes.c_long), ("tv_nsec", ctypes.c_long))


class _IntervalTimerSpec(ctypes.Structure):
    _fields_ = (("it_interval", _TimeSpec), ("it_value", _TimeSpec))


class Ticker:
    """Calls `wake` about every `interval_ns` until closed: a timerfd on Linux, else call_later.

    `wake` must look at the clock itself: wake-ups may come late or be merged.
    """

    def __init__(self, interval_ns: int, wake: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._interval_ns = interval_ns
        self._wake = wake
        self._fd: int | None = None
        self._handle: asyncio.TimerHandle | None = None
        if sys.platform == "linux":
            self._fd = _open_timerfd(interval_ns)
            self._loop.add_reader(self._fd, self._on_timerfd, self._fd)
        else:
            self._on_timeout()

    def close(self) -> None:
        if self._fd is not None:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = None
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _on_timerfd(self, fd: int) -> None:
        try:
            os.read(fd, 8)  # how often it expired; only the reading matters
        except BlockingIOError:
            return
        self._wake()

    def _on_timeout(self) -> None:
        self._handle = self._loop.call_later(self._interval_ns / 1e9, self._on_timeout)
        self._wake()


def _open_timerfd(interval_ns: int) -> int:
    """`os.timerfd_create` is there from Python 3.13; this is the same call."""
    libc = ctypes.CDLL(None, use_errno=True)
    fd = int(libc.timerfd_create(_CLOCK_MONOTONIC, _NONBLOCK_CLOEXEC))
    if fd < 0:
        raise OSError(ctypes.get_errno(), "timerfd_create")
    interval = _TimeSpec(*divmod(interval_ns, 1_000_000_000))
    spec = _IntervalTimerSpec(interval, interval)
    if libc.timerfd_settime(fd, 0, ctypes.byref(spec), None) != 0:
        number = ctypes.get_errno()
        os.close(fd)
        raise OSError(number, "timerfd_settime")
    return fd
