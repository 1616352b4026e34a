"""What a call is asked for, how calls may be, and what is told of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from relay.core.ids import CallId, LegName
from relay.core.lifecycle import End, State, Timeouts
from relay.core.principal import Principal
from relay.core.quality import Histogram
from relay.rtc import LegStats


@dataclass(frozen=True, slots=True)
class CallRequest:
    """One offer to be answered.

    `session` is the merged session object (verbatim wire JSON), `dcid` the id of a data channel
    that the client has agreed on beforehand, `headers` the client's that travel on.
    """

    offer: str = field(repr=False)
    principal: Principal
    model: str | None = None
    session: Mapping[str, Any] | None = field(default=None, repr=False)
    dcid: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class ChannelLimits:
    """How much of the control messages may wait, in each direction.

    Until the receiver's channel is open at most `max_waiting_messages` and `max_waiting_bytes`
    wait. Once it is, the sender is stopped while more than `high_water_bytes` have not left, and a
    receiver that takes nothing for `stall_timeout_s` ends the call. `max_message_bytes` is the
    largest message taken, and what both peers are told.
    """

    max_message_bytes: int = 16 * 1024 * 1024
    max_waiting_messages: int = 1000
    max_waiting_bytes: int = 4 * 1024 * 1024
    high_water_bytes: int = 1024 * 1024
    stall_timeout_s: float = 30.0


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """What the operator allows. `connect_timeout_s` is what the upstream has to answer, and then
    each leg to connect; the other deadlines are `core.lifecycle`'s, and 0 or inf is never."""

    max_sessions: int = 200
    connect_timeout_s: float = 15.0
    disconnect_grace_s: float = 10.0
    max_duration_s: float = 3600.0
    idle_timeout_s: float = math.inf
    hang_up_timeout_s: float = 5.0
    close_timeout_s: float = 8.0
    video: bool = False
    channel: ChannelLimits = field(default_factory=ChannelLimits)

    @property
    def timeouts(self) -> Timeouts:
        return Timeouts(
            connect_timeout_s=self.connect_timeout_s,
            disconnect_grace_s=self.disconnect_grace_s,
            max_duration_s=self.max_duration_s,
            idle_timeout_s=self.idle_timeout_s or math.inf,
        )


@dataclass(slots=True)
class Phases:
    """How long the set-up took, in ms; None: not reached.

    The first three count from the request: until both legs' halves of the descriptions were there,
    (`upstream`: the upstream's own time,) until the answer. The others count from the answer: until
    a leg was connected, and until its first packet came.
    """

    gather: float | None = None
    upstream: float | None = None
    answered: float | None = None
    client_connected: float | None = None
    upstream_connected: float | None = None
    client_first_packet: float | None = None
    upstream_first_packet: float | None = None

    def connected(self, leg: LegName, ms: float) -> None:
        """The first time counts: a leg may come back later."""
        if leg == "client" and self.client_connected is None:
            self.client_connected = ms
        elif leg == "upstream" and self.upstream_connected is None:
            self.upstream_connected = ms

    def heard(self, leg: LegName, ms: float) -> None:
        if leg == "client":
            self.client_first_packet = ms
        else:
            self.upstream_first_packet = ms


@dataclass(slots=True)
class MessageCounts:
    """Control messages of one direction: taken from the sender, refused for their size."""

    messages: int = 0
    bytes: int = 0
    too_large: int = 0


@dataclass(frozen=True, slots=True)
class CallSnapshot:
    """A call at one moment.

    `upstream_status` is the HTTP status of a refusal, `leg_reasons` what the legs said of their
    last state, `restarts` how often the client restarted ICE; `client` and `upstream` are None
    where no leg was made. `added_latency_ms` is a copy of the translator's.
    """

    id: CallId
    owner: str
    upstream_call_id: str | None
    upstream_status: int | None
    state: State
    end: End | None
    started_at: datetime
    duration_s: float
    phases_ms: Phases
    leg_reasons: Mapping[LegName, str]
    restarts: int
    client: LegStats | None
    upstream: LegStats | None
    up: MessageCounts
    down: MessageCounts
    added_latency_ms: Histogram


class CallObserver(Protocol):
    """Who counts calls: `telemetry.metrics.Metrics`."""

    def call_answered(self, setup_s: float) -> None: ...

    def call_ended(self, outcome: str) -> None: ...

    def path_selected(self, leg: LegName, types: str, transport: str) -> None:
        """A leg goes by another pair; `types` are its candidates', the local one first."""
        ...
