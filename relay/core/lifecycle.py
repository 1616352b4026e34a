"""The life of a call: events and the time in, actions and the next deadline out.

The shell (`relay.session.call`) feeds what happened to the two legs, carries out the actions and
calls back when `deadline` has passed. In scope: when a call is live, and when and why it ends. Out
of scope: how a leg connects or restarts, and everything before the call's answer but its failure.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, Literal, assert_never

from relay.core.ids import Direction, LegName

LegChange = Literal["connected", "disconnected", "expired", "failed", "closed"]
"""`expired`: consent is lost (RFC 7675), which an ICE restart within the grace gives again."""
HungUpBy = Literal["client", "admin", "shutdown"]


class State(StrEnum):
    """opening: no answer yet · connecting: answered, a leg is missing · live: both legs stand ·
    ending: the end is decided and being carried out · ended: nothing is left."""

    OPENING = "opening"
    CONNECTING = "connecting"
    LIVE = "live"
    ENDING = "ending"
    ENDED = "ended"


class Outcome(StrEnum):
    """How a call ended, in the few words a metric can carry; the reason says the rest."""

    COMPLETED = "completed"  # a side that may end the call did
    LIMITED = "limited"  # a limit of the operator's did
    FAILED = "failed"  # it was opened and could not stay
    REFUSED = "refused"  # it never got an answer
    ABANDONED = "abandoned"  # the client left before the answer
    DRAINED = "drained"  # the server went down


@dataclass(frozen=True, slots=True)
class Timeouts:
    """In seconds; `math.inf` means never.

    The duration and the time to connect count from the answer, the grace from the loss of a leg's
    path or its last ICE restart, idleness from the last `Active`.
    """

    connect_timeout_s: float
    disconnect_grace_s: float
    max_duration_s: float = math.inf
    idle_timeout_s: float = math.inf


# --- events -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Answered:
    """The client has its answer: both legs begin to connect."""


@dataclass(frozen=True, slots=True)
class OpeningFailed:
    """There will be no answer. `reason` is the error's code, or `client_vanished`."""

    reason: str
    abandoned: bool = False


@dataclass(frozen=True, slots=True)
class LegChanged:
    """A leg's transport reports a state; states that mean nothing here are not events."""

    leg: LegName
    change: LegChange


@dataclass(frozen=True, slots=True)
class Restarted:
    """The peer of `leg` asked for an ICE restart: it is there, if not on its path."""

    leg: LegName


@dataclass(frozen=True, slots=True)
class ChannelClosed:
    """The data channel was closed by the peer of `leg`."""

    leg: LegName


@dataclass(frozen=True, slots=True)
class HungUp:
    """Somebody with the right to do so ended the call by a request."""

    by: HungUpBy


@dataclass(frozen=True, slots=True)
class Active:
    """The call is in use: a message passed, or a packet where the call has no channel."""


@dataclass(frozen=True, slots=True)
class Overflowed:
    """A bounded queue of control messages in `direction` is full."""

    direction: Direction


@dataclass(frozen=True, slots=True)
class Stalled:
    """The receiver of `direction` has taken nothing for too long."""

    direction: Direction


@dataclass(frozen=True, slots=True)
class Broke:
    """The relay itself could not go on: a bug, and the log has its trace."""


@dataclass(frozen=True, slots=True)
class TimePassed:
    """`deadline` was reached."""


@dataclass(frozen=True, slots=True)
class Released:
    """The shell has carried out the end: legs closed, tasks gone."""


Event = (
    Answered
    | OpeningFailed
    | LegChanged
    | Restarted
    | ChannelClosed
    | HungUp
    | Active
    | Overflowed
    | Stalled
    | Broke
    | TimePassed
    | Released
)

# --- actions ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TellClient:
    """Send the client an `error` event, if its channel still is open."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class HangUpUpstream:
    """End the call at the provider, if it has one."""


@dataclass(frozen=True, slots=True)
class End:
    """Close both legs and everything the call owns; comes once, as the last action."""

    outcome: Outcome
    reason: str


Action = TellClient | HangUpUpstream | End

# --- the machine --------------------------------------------------------------------------------

_MESSAGES: Final[dict[str, str]] = {
    "upstream_closed": "The upstream ended the call.",
    "upstream_lost": "The connection to the upstream was lost.",
    "upstream_connect_failed": "The relay could not connect to the upstream.",
    "upstream_connect_timeout": "The relay could not connect to the upstream in time.",
    "max_duration": "The call reached its maximum duration.",
    "idle_timeout": "The call was idle for too long.",
    "hung_up": "The call was ended by the operator.",
    "server_shutdown": "The relay is shutting down.",
    "overflow_up": "The upstream takes messages too slowly.",
    "stalled_up": "The upstream stopped taking messages.",
    "internal_error": "The relay could not go on with the call.",
}
"""What the client is told, by reason. A reason that is not here ends without a word: the client
itself ended the call, or cannot be reached."""

_HANG_UPS: Final[dict[HungUpBy, tuple[Outcome, str]]] = {
    "client": (Outcome.COMPLETED, "client_hung_up"),
    "admin": (Outcome.COMPLETED, "hung_up"),
    "shutdown": (Outcome.DRAINED, "server_shutdown"),
}


_RECEIVERS: Final[dict[Direction, LegName]] = {"up": "upstream", "down": "client"}


@dataclass(frozen=True, slots=True)
class _Leg:
    connected: bool = False
    deadline: float = math.inf  # of connecting, then of the grace

    @property
    def is_out_of_contact(self) -> bool:
        return self.connected and self.deadline != math.inf


class Lifecycle:
    """One call's state machine. Never raises for an event that comes late: after the end they mean
    nothing, and a transport may report what it likes in any order."""

    def __init__(self, now: float, timeouts: Timeouts) -> None:
        self._timeouts = timeouts
        self._legs: dict[LegName, _Leg] = {"client": _Leg(), "upstream": _Leg()}
        self._expires_at = math.inf
        self._active_at = now
        self.state = State.OPENING
        self.end: End | None = None

    @property
    def deadline(self) -> float | None:
        """When `TimePassed` is due, on the clock of `now`; None: nothing is waited for."""
        if self.state not in (State.CONNECTING, State.LIVE):
            return None
        legs = (leg.deadline for leg in self._legs.values())
        deadline = min(self._expires_at, self._idle_at, *legs)
        return None if deadline == math.inf else deadline

    def handle(self, event: Event, now: float) -> tuple[Action, ...]:
        """Takes an event at `now` (seconds, monotonic) and returns what is to be done, in order."""
        if isinstance(event, Released):
            assert self.state in (State.ENDING, State.ENDED), "released before the end was decided"
            self.state = State.ENDED
            return ()
        if self.state in (State.ENDING, State.ENDED):
            return ()
        match event:
            case Answered():
                return self._answered(now)
            case LegChanged(leg, change):
                return self._leg_changed(leg, change, now)
            case Restarted(leg):
                if self._legs[leg].is_out_of_contact:
                    self._grant_grace(leg, now)
                return ()
            case Stalled(direction) if self._legs[_RECEIVERS[direction]].is_out_of_contact:
                return ()  # it takes nothing because nothing reaches it
            case TimePassed():
                return self._time_passed(now)
            case Active():
                self._active_at = max(self._active_at, now)
                return ()
            case _:
                return self._ended_by(event)

    def _answered(self, now: float) -> tuple[Action, ...]:
        assert self.state is State.OPENING, "answered twice"
        self.state = State.CONNECTING
        self._expires_at = now + self._timeouts.max_duration_s
        self._active_at = now
        for name, leg in self._legs.items():
            if not leg.connected:
                self._legs[name] = replace(leg, deadline=now + self._timeouts.connect_timeout_s)
        return self._live_if_connected()

    def _leg_changed(self, name: LegName, change: LegChange, now: float) -> tuple[Action, ...]:
        leg = self._legs[name]
        match change:
            case "connected":
                self._legs[name] = _Leg(connected=True)
                return self._live_if_connected()
            case "disconnected" | "expired":
                # Before the first connection its deadline stands; a running grace is not renewed.
                if leg.connected and leg.deadline == math.inf:
                    self._grant_grace(name, now)
                return ()
            case "closed" if leg.connected:
                return self._finish(Outcome.COMPLETED, f"{name}_closed")
            case "failed" | "closed":
                what = "lost" if leg.connected else "connect_failed"
                return self._finish(Outcome.FAILED, f"{name}_{what}")
            case _:
                assert_never(change)

    def _grant_grace(self, name: LegName, now: float) -> None:
        deadline = now + self._timeouts.disconnect_grace_s
        self._legs[name] = replace(self._legs[name], deadline=deadline)

    def _live_if_connected(self) -> tuple[Action, ...]:
        if self.state is State.CONNECTING and all(leg.connected for leg in self._legs.values()):
            self.state = State.LIVE
        return ()

    def _time_passed(self, now: float) -> tuple[Action, ...]:
        if self.state is State.OPENING:
            return ()
        for name, leg in self._legs.items():
            if leg.deadline <= now:
                what = "lost" if leg.connected else "connect_timeout"
                return self._finish(Outcome.FAILED, f"{name}_{what}")
        if self._expires_at <= now:
            return self._finish(Outcome.LIMITED, "max_duration")
        if self._idle_at <= now:
            return self._finish(Outcome.LIMITED, "idle_timeout")
        return ()

    def _ended_by(
        self, event: OpeningFailed | ChannelClosed | HungUp | Overflowed | Stalled | Broke
    ) -> tuple[Action, ...]:
        match event:
            case OpeningFailed(reason, abandoned):
                return self._finish(Outcome.ABANDONED if abandoned else Outcome.REFUSED, reason)
            case ChannelClosed(leg):
                return self._finish(Outcome.COMPLETED, f"{leg}_closed")
            case HungUp(by):
                return self._finish(*_HANG_UPS[by])
            case Overflowed(direction):
                return self._finish(Outcome.FAILED, f"overflow_{direction}")
            case Stalled(direction):
                return self._finish(Outcome.FAILED, f"stalled_{direction}")
            case Broke():
                return self._finish(Outcome.FAILED, "internal_error")
            case _:
                assert_never(event)

    @property
    def _idle_at(self) -> float:
        return self._active_at + self._timeouts.idle_timeout_s

    def _finish(self, outcome: Outcome, reason: str) -> tuple[Action, ...]:
        self.state = State.ENDING
        self.end = End(outcome, reason)
        message = _MESSAGES.get(reason)
        tell = () if message is None else (TellClient(reason, message),)
        return (*tell, HangUpUpstream(), self.end)
