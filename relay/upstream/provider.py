"""What every upstream adapter offers to a session."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class UpstreamOffer:
    """One call to be opened: our offer and what the upstream shall know of the session.

    `session` is the merged session object (verbatim wire JSON) or None; `credential` is the
    client's own token to be passed through, None for the server's key. `headers` are the client's
    that travel on (OpenAI-Safety-Identifier, OpenAI-Organization, OpenAI-Project).
    """

    sdp: str
    model: str | None
    session: Mapping[str, Any] | None
    credential: str | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class UpstreamAnswer:
    """`sdp` is the answer as it came, `call_id` the last segment of `Location` (None if absent)."""

    sdp: str
    call_id: str | None
    elapsed_s: float


class Upstream(Protocol):
    """Opens and ends calls. Every method has a deadline of its caller and may be cancelled."""

    async def open_call(self, offer: UpstreamOffer, *, timeout_s: float) -> UpstreamAnswer:
        """Raises UpstreamRefused, UpstreamUnreachable, UpstreamInvalid or UpstreamTimeout."""
        ...

    async def hang_up(
        self, call_id: str, *, credential: str | None = None, timeout_s: float
    ) -> None:
        """Ends the call; a call that is already gone is fine. Raises the same errors."""
        ...

    async def close(self) -> None: ...
