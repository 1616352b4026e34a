"""Much work for a thread beside calls, in portions: the event loop waits for the interpreter."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Final, TypeVar

PORTION_S: Final = 0.0005
PAUSE_S: Final = 0.0002

T = TypeVar("T")


def breathing(items: Iterable[T]) -> Iterator[T]:
    """The items, each as small a piece of work as a row; lets go of the interpreter whenever they
    have held it for PORTION_S. For a thread: it sleeps."""
    portion_ends_s = time.monotonic() + PORTION_S
    for item in items:
        yield item
        if time.monotonic() > portion_ends_s:
            time.sleep(PAUSE_S)
            portion_ends_s = time.monotonic() + PORTION_S
