"""A leg's own candidates: what the answer lists, and what trickles after it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from relay.core.candidate import Candidate


class CandidateFeed:
    """Grows until it is ended; any number of readers, each from the beginning (RFC 8838 §10)."""

    def __init__(self, candidates: tuple[Candidate, ...] = ()) -> None:
        self._candidates = list(candidates)
        self._is_complete = False
        self._news = asyncio.Event()

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """Those known so far."""
        return tuple(self._candidates)

    @property
    def is_complete(self) -> bool:
        """No more will come: end-of-candidates."""
        return self._is_complete

    def add(self, candidate: Candidate) -> None:
        if candidate not in self._candidates:
            self._candidates.append(candidate)
            self._tell()

    def end(self) -> None:
        self._is_complete = True
        self._tell()

    def _tell(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()

    async def __aiter__(self) -> AsyncIterator[Candidate]:
        """All of them, then waits for more, until the end."""
        given = 0
        while True:
            while given < len(self._candidates):
                yield self._candidates[given]
                given += 1
            if self._is_complete:
                return
            await self._news.wait()
