"""The call's state machine: every end has one reason, and no wait is without a deadline."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from relay.core.ids import Direction, LegName
from relay.core.lifecycle import (
    Action,
    Active,
    Answered,
    Broke,
    ChannelClosed,
    End,
    Event,
    HangUpUpstream,
    HungUp,
    HungUpBy,
    LegChange,
    LegChanged,
    Lifecycle,
    OpeningFailed,
    Outcome,
    Overflowed,
    Released,
    Restarted,
    Stalled,
    State,
    TellClient,
    Timeouts,
    TimePassed,
)

LEGS: tuple[LegName, LegName] = ("client", "upstream")
TIMEOUTS = Timeouts(
    connect_timeout_s=15, disconnect_grace_s=10, max_duration_s=3600, idle_timeout_s=600
)


def live(timeouts: Timeouts = TIMEOUTS, *, at: float = 100.0) -> Lifecycle:
    lifecycle = Lifecycle(at, timeouts)
    lifecycle.handle(Answered(), at)
    for leg in LEGS:
        lifecycle.handle(LegChanged(leg, "connected"), at)
    return lifecycle


def codes(actions: tuple[Action, ...]) -> list[str]:
    return [action.code for action in actions if isinstance(action, TellClient)]


def test_lifecycle_opening_waits_for_nothing() -> None:
    lifecycle = Lifecycle(100.0, TIMEOUTS)

    assert lifecycle.state is State.OPENING
    assert lifecycle.deadline is None


def test_lifecycle_answered_waits_for_both_legs() -> None:
    lifecycle = Lifecycle(100.0, TIMEOUTS)

    actions = lifecycle.handle(Answered(), 101.0)

    assert actions == ()
    assert lifecycle.state is State.CONNECTING
    assert lifecycle.deadline == 116.0


def test_lifecycle_second_leg_connected_is_live() -> None:
    lifecycle = Lifecycle(100.0, TIMEOUTS)
    lifecycle.handle(Answered(), 100.0)

    lifecycle.handle(LegChanged("upstream", "connected"), 100.1)
    assert lifecycle.deadline == 115.0  # the client's
    lifecycle.handle(LegChanged("client", "connected"), 100.2)

    assert lifecycle.state is State.LIVE
    assert lifecycle.deadline == 700.0  # idleness comes first


@pytest.mark.parametrize("leg", LEGS)
def test_lifecycle_leg_never_connects_ends_with_its_reason(leg: LegName) -> None:
    lifecycle = Lifecycle(100.0, TIMEOUTS)
    lifecycle.handle(Answered(), 100.0)
    other: LegName = "upstream" if leg == "client" else "client"
    lifecycle.handle(LegChanged(other, "connected"), 100.1)

    assert lifecycle.handle(TimePassed(), 114.9) == ()
    actions = lifecycle.handle(TimePassed(), 115.0)

    assert actions[-2:] == (HangUpUpstream(), End(Outcome.FAILED, f"{leg}_connect_timeout"))
    assert codes(actions) == (["upstream_connect_timeout"] if leg == "upstream" else [])
    assert lifecycle.deadline is None


def test_lifecycle_opening_failed_is_refused() -> None:
    lifecycle = Lifecycle(100.0, TIMEOUTS)

    actions = lifecycle.handle(OpeningFailed("upstream_timeout"), 101.0)

    assert actions == (HangUpUpstream(), End(Outcome.REFUSED, "upstream_timeout"))


def test_lifecycle_client_leaves_while_opening_is_abandoned() -> None:
    lifecycle = Lifecycle(100.0, TIMEOUTS)

    actions = lifecycle.handle(OpeningFailed("client_vanished", abandoned=True), 101.0)

    assert actions[-1] == End(Outcome.ABANDONED, "client_vanished")


@pytest.mark.parametrize("leg", LEGS)
def test_lifecycle_disconnected_leg_that_returns_goes_on(leg: LegName) -> None:
    lifecycle = live()

    lifecycle.handle(LegChanged(leg, "disconnected"), 200.0)
    assert lifecycle.deadline == 210.0
    lifecycle.handle(LegChanged(leg, "connected"), 209.0)

    assert lifecycle.handle(TimePassed(), 210.0) == ()
    assert lifecycle.state is State.LIVE


@pytest.mark.parametrize("leg", LEGS)
def test_lifecycle_disconnected_leg_past_its_grace_is_lost(leg: LegName) -> None:
    lifecycle = live()
    lifecycle.handle(LegChanged(leg, "disconnected"), 200.0)
    lifecycle.handle(LegChanged(leg, "disconnected"), 205.0)  # said again: the grace runs on

    actions = lifecycle.handle(TimePassed(), 210.0)

    assert actions[-1] == End(Outcome.FAILED, f"{leg}_lost")


@pytest.mark.parametrize("leg", LEGS)
def test_lifecycle_expired_leg_has_what_is_left_of_its_grace(leg: LegName) -> None:
    lifecycle = live()
    lifecycle.handle(LegChanged(leg, "disconnected"), 200.0)

    assert lifecycle.handle(LegChanged(leg, "expired"), 205.0) == ()
    assert lifecycle.handle(TimePassed(), 209.9) == ()
    actions = lifecycle.handle(TimePassed(), 210.0)

    assert actions[-1] == End(Outcome.FAILED, f"{leg}_lost")


@pytest.mark.parametrize("leg", LEGS)
def test_lifecycle_expired_leg_that_was_never_disconnected_has_a_grace(leg: LegName) -> None:
    lifecycle = live()

    lifecycle.handle(LegChanged(leg, "expired"), 200.0)
    assert lifecycle.deadline == 210.0
    lifecycle.handle(LegChanged(leg, "connected"), 205.0)

    assert lifecycle.handle(TimePassed(), 210.0) == ()
    assert lifecycle.state is State.LIVE


def test_lifecycle_restart_renews_a_running_grace() -> None:
    lifecycle = live()
    lifecycle.handle(LegChanged("client", "disconnected"), 200.0)

    assert lifecycle.handle(Restarted("client"), 209.9) == ()

    assert lifecycle.deadline == 219.9
    actions = lifecycle.handle(TimePassed(), 219.9)
    assert actions[-1] == End(Outcome.FAILED, "client_lost")


def test_lifecycle_restart_of_a_leg_in_contact_starts_no_grace() -> None:
    lifecycle = live()
    connecting = Lifecycle(100.0, TIMEOUTS)
    connecting.handle(Answered(), 100.0)

    lifecycle.handle(Restarted("client"), 200.0)
    connecting.handle(Restarted("client"), 114.0)

    assert lifecycle.deadline == 700.0  # idleness
    assert connecting.deadline == 115.0


def test_lifecycle_receiver_out_of_contact_cannot_stall() -> None:
    lifecycle = live()
    lifecycle.handle(LegChanged("client", "disconnected"), 200.0)

    assert lifecycle.handle(Stalled("down"), 205.0) == ()
    lifecycle.handle(LegChanged("client", "connected"), 206.0)
    actions = lifecycle.handle(Stalled("down"), 236.0)

    assert actions[-1] == End(Outcome.FAILED, "stalled_down")


@pytest.mark.parametrize("leg", LEGS)
def test_lifecycle_disconnected_before_connected_keeps_the_first_deadline(leg: LegName) -> None:
    lifecycle = Lifecycle(100.0, TIMEOUTS)
    lifecycle.handle(Answered(), 100.0)

    lifecycle.handle(LegChanged(leg, "disconnected"), 101.0)

    assert lifecycle.deadline == 115.0


@pytest.mark.parametrize(
    ("change", "before", "after"),
    [
        ("failed", "connect_failed", "lost"),
        ("closed", "connect_failed", "closed"),
    ],
)
@pytest.mark.parametrize("leg", LEGS)
def test_lifecycle_leg_goes_reason_tells_when(
    leg: LegName, change: LegChange, before: str, after: str
) -> None:
    connecting = Lifecycle(100.0, TIMEOUTS)
    connecting.handle(Answered(), 100.0)

    early = connecting.handle(LegChanged(leg, change), 101.0)
    late = live().handle(LegChanged(leg, change), 101.0)

    assert isinstance(early[-1], End)
    assert isinstance(late[-1], End)
    assert early[-1] == End(Outcome.FAILED, f"{leg}_{before}")
    assert late[-1].reason == f"{leg}_{after}"
    assert late[-1].outcome is (Outcome.COMPLETED if change == "closed" else Outcome.FAILED)
    told = {f"upstream_{before}", f"upstream_{after}"}
    assert set(codes(early) + codes(late)) == (told if leg == "upstream" else set())


@pytest.mark.parametrize(
    ("event", "outcome", "reason", "told"),
    [
        (ChannelClosed("client"), Outcome.COMPLETED, "client_closed", False),
        (ChannelClosed("upstream"), Outcome.COMPLETED, "upstream_closed", True),
        (HungUp("client"), Outcome.COMPLETED, "client_hung_up", False),
        (HungUp("admin"), Outcome.COMPLETED, "hung_up", True),
        (HungUp("shutdown"), Outcome.DRAINED, "server_shutdown", True),
        (Overflowed("up"), Outcome.FAILED, "overflow_up", True),
        (Overflowed("down"), Outcome.FAILED, "overflow_down", False),
        (Stalled("up"), Outcome.FAILED, "stalled_up", True),
        (Stalled("down"), Outcome.FAILED, "stalled_down", False),
        (Broke(), Outcome.FAILED, "internal_error", True),
    ],
)
def test_lifecycle_ending_event_ends_with_its_reason(
    event: Event, outcome: Outcome, reason: str, told: bool
) -> None:
    lifecycle = live()

    actions = lifecycle.handle(event, 150.0)

    assert actions[-2:] == (HangUpUpstream(), End(outcome, reason))
    assert codes(actions) == ([reason] if told else [])
    assert lifecycle.state is State.ENDING
    assert lifecycle.end == End(outcome, reason)


def test_lifecycle_activity_moves_the_idle_deadline_but_not_the_last() -> None:
    lifecycle = live()

    for at in range(600, 3700, 500):
        lifecycle.handle(Active(), float(at))
        lifecycle.handle(TimePassed(), float(at))
    assert lifecycle.state is State.LIVE
    assert lifecycle.deadline == 3700.0
    actions = lifecycle.handle(TimePassed(), 3700.0)

    assert actions[-1] == End(Outcome.LIMITED, "max_duration")


def test_lifecycle_nothing_happens_is_idle() -> None:
    lifecycle = live()

    assert lifecycle.handle(TimePassed(), 699.9) == ()
    actions = lifecycle.handle(TimePassed(), 700.0)

    assert actions[-1] == End(Outcome.LIMITED, "idle_timeout")


def test_lifecycle_without_limits_waits_for_nothing_when_live() -> None:
    lifecycle = live(Timeouts(connect_timeout_s=15, disconnect_grace_s=10))

    assert lifecycle.deadline is None


def test_lifecycle_second_end_changes_nothing() -> None:
    lifecycle = live()
    lifecycle.handle(HungUp("client"), 150.0)

    actions = lifecycle.handle(LegChanged("upstream", "closed"), 150.1)

    assert actions == ()
    assert lifecycle.end == End(Outcome.COMPLETED, "client_hung_up")


def test_lifecycle_released_is_ended() -> None:
    lifecycle = live()
    lifecycle.handle(HungUp("client"), 150.0)

    lifecycle.handle(Released(), 150.5)

    assert lifecycle.state is State.ENDED


EVENTS = st.one_of(
    st.builds(
        LegChanged,
        st.sampled_from(LEGS),
        st.sampled_from(["connected", "disconnected", "expired", "failed", "closed"]),
    ),
    st.builds(Restarted, st.sampled_from(LEGS)),
    st.builds(Stalled, st.sampled_from(list[Direction](["up", "down"]))),
    st.just(Active()),
    st.just(TimePassed()),
)
ENDINGS = st.one_of(
    st.builds(ChannelClosed, st.sampled_from(LEGS)),
    st.builds(HungUp, st.sampled_from(list[HungUpBy](["client", "admin", "shutdown"]))),
    st.builds(Overflowed, st.sampled_from(list[Direction](["up", "down"]))),
    st.just(Broke()),
    st.just(OpeningFailed("upstream_refused")),
)


class LifecycleMachine(RuleBasedStateMachine):
    """Any events in any order: one end, one reason, always a next deadline that makes progress."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.timeouts = Timeouts(15, 10, 300, 60)
        self.lifecycle = Lifecycle(self.now, self.timeouts)
        self.history: list[tuple[Event, float]] = []
        self.actions: list[Action] = []
        self.connected: set[LegName] = set()

    def feed(self, event: Event) -> None:
        self.history.append((event, self.now))
        self.actions.extend(self.lifecycle.handle(event, self.now))

    @precondition(lambda self: self.lifecycle.state is State.OPENING)
    @rule()
    def answer(self) -> None:
        self.feed(Answered())

    @rule(event=EVENTS)
    def happen(self, event: Event) -> None:
        if isinstance(event, LegChanged) and event.change == "connected":
            self.connected.add(event.leg)
        self.feed(event)

    @rule(event=ENDINGS)
    def finish(self, event: Event) -> None:
        self.feed(event)
        assert self.lifecycle.state in (State.ENDING, State.ENDED)

    @rule(seconds=st.floats(0, 100))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.lifecycle.deadline is not None)
    @rule()
    def reach_deadline(self) -> None:
        deadline = self.lifecycle.deadline
        assert deadline is not None
        self.now = max(self.now, deadline)

        self.feed(TimePassed())

        assert self.lifecycle.state is State.ENDING, "a deadline that ends nothing is a busy loop"

    @precondition(lambda self: self.lifecycle.state is State.ENDING)
    @rule()
    def release(self) -> None:
        self.feed(Released())
        assert self.lifecycle.state is State.ENDED

    @invariant()
    def ends_once_and_last(self) -> None:
        ends = [action for action in self.actions if isinstance(action, End)]
        over = self.lifecycle.state in (State.ENDING, State.ENDED)
        assert len(ends) == (1 if over else 0)
        if ends:
            assert self.actions[-1] is ends[0]
            assert self.actions.count(HangUpUpstream()) == 1

    @invariant()
    def waits_only_while_a_call_is_on(self) -> None:
        on = self.lifecycle.state in (State.CONNECTING, State.LIVE)
        assert (self.lifecycle.deadline is not None) == on

    @invariant()
    def is_live_only_with_both_legs(self) -> None:
        if self.lifecycle.state is State.LIVE:
            assert self.connected == {"client", "upstream"}

    def teardown(self) -> None:
        again = Lifecycle(1000.0, self.timeouts)
        replayed = [action for event, at in self.history for action in again.handle(event, at)]
        assert replayed == self.actions, "the same events gave other actions"


TestLifecycle = LifecycleMachine.TestCase
