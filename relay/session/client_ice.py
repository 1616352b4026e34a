"""ICE of the client's leg after the answer: trickle and restarts (RFC 8838, RFC 9725 §4.3)."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final

from relay.core.candidate import Candidate
from relay.core.errors import (
    InvalidRequest,
    PreconditionFailed,
    PreconditionRequired,
    RateLimited,
)
from relay.core.sdp import Transport
from relay.core.sdpfrag import SdpFragment, render
from relay.policy.admission import RateLimiter
from relay.rtc import Leg

ANY_TAG: Final = "*"
MAX_READERS: Final = 4
"""Of the relay's late candidates, at a time."""

PATCHES_PER_MINUTE: Final = 120
RESTARTS_PER_MINUTE: Final = 30
"""Each opens checks to up to `ice.max_remote_candidates` addresses."""

_MAX_PAST: Final = 64


@dataclass(frozen=True, slots=True)
class RestartAnswer:
    """The relay's end of a new ICE session: an sdpfrag, and the tag that names the session."""

    fragment: str
    etag: str


def told_to_client(leg: Leg) -> Transport:
    """The leg's end as the client gets it. Candidates that come later are trickled, and so may the
    client's be: RFC 8840 §4.1."""
    return replace(leg.local, ice_options=("trickle",))


class ClientIce:
    """One call's. `mids` are the media sections that a fragment may name, `mid` the one that
    carries the transport, `remote` the client's end as its offer has it."""

    def __init__(self, leg: Leg, remote: Transport, mids: Collection[str], mid: str) -> None:
        self.restarts = 0
        self._leg = leg
        self._remote = remote
        self._mids = frozenset(mids)
        self._mid = mid
        self._past: list[str] = []
        self._readers = 0
        self._patches = RateLimiter(PATCHES_PER_MINUTE)
        self._restarts = RateLimiter(RESTARTS_PER_MINUTE)

    @property
    def etag(self) -> str:
        """Names the ICE session: our user fragment, which each generation has anew."""
        return self._leg.local.ice_ufrag

    def patch(self, text: str, tags: Collection[str] | None) -> RestartAnswer | None:
        """Takes the client's candidates, or its new credentials; None where nothing is to be told.

        `tags` are If-Match's entity-tags, `*` for any, None without the header. A restart whose
        answer was lost may be sent again as it was, and gets the same answer. Raises
        RateLimited, InvalidRequest, PreconditionRequired, PreconditionFailed.
        """
        _take(self._patches)
        fragment = SdpFragment.parse(text, self._mids)
        if tags is None:
            raise PreconditionRequired("If-Match is needed: the call's ETag, or * for a restart.")
        self._check_session(fragment, tags)
        if fragment.ice_ufrag not in (None, self._remote.ice_ufrag):
            return self._restart(fragment)
        if fragment.ice_pwd not in (None, self._remote.ice_pwd):
            raise InvalidRequest(
                "A restart changes a=ice-ufrag, too.", code="invalid_sdpfrag", param="ice-ufrag"
            )
        self._leg.add_candidates(_of_session(fragment.candidates, self._remote.ice_ufrag))
        is_repeated = fragment.ice_ufrag is not None and self.restarts > 0 and ANY_TAG in tags
        return self._answer() if is_repeated else None

    def _check_session(self, fragment: SdpFragment, tags: Collection[str]) -> None:
        if ANY_TAG not in tags and self.etag not in tags:
            raise PreconditionFailed("If-Match names an ICE session that a restart has ended.")
        if fragment.ice_ufrag in self._past:  # a request that was overtaken by a later one
            raise PreconditionFailed("The fragment is of an ICE session that a restart has ended.")

    def _restart(self, fragment: SdpFragment) -> RestartAnswer:
        assert fragment.ice_ufrag is not None
        assert fragment.ice_pwd is not None
        _take(self._restarts)
        self._past = [*self._past, self._remote.ice_ufrag][-_MAX_PAST:]
        self._remote = replace(
            self._remote,
            ice_ufrag=fragment.ice_ufrag,
            ice_pwd=fragment.ice_pwd,
            candidates=tuple(_of_session(fragment.candidates, fragment.ice_ufrag)),
            end_of_candidates=fragment.end_of_candidates,
        )
        self._leg.restart(self._remote)
        self.restarts += 1
        return self._answer()

    def _answer(self) -> RestartAnswer:
        return RestartAnswer(render(told_to_client(self._leg), self._mid), self.etag)

    @contextmanager
    def reading(self) -> Iterator[AsyncIterator[str]]:
        """Our candidates as lines of SDP, those that are known and those to come, and their end;
        or until the call is over. Raises RateLimited where there are MAX_READERS already."""
        if self._readers >= MAX_READERS:
            raise RateLimited("The call's candidates are read already.", retry_after_s=1.0)
        self._readers += 1
        try:
            yield self._lines()
        finally:
            self._readers -= 1

    async def _lines(self) -> AsyncIterator[str]:
        async for candidate in self._leg.candidates:
            yield f"a={candidate.render()} ufrag {self.etag}"
        yield "a=end-of-candidates"


def _take(limiter: RateLimiter) -> None:
    wait_s = limiter.take("", time.monotonic())
    if wait_s > 0:
        raise RateLimited("Too many PATCH requests for this call.", retry_after_s=wait_s)


def _of_session(candidates: Collection[Candidate], ufrag: str) -> Iterator[Candidate]:
    """Without those that say of themselves that they are another session's (RFC 8839 §5.1)."""
    return (c for c in candidates if dict(c.extensions).get("ufrag", ufrag) == ufrag)
