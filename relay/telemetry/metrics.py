"""The Prometheus metrics of contract §6.

Nothing here is touched on the packet path: packets are counted by the legs, and read from them when
somebody scrapes.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from itertools import accumulate
from typing import Final, Protocol

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from relay.core.ids import Direction, LegName
from relay.core.quality import Histogram as Buckets
from relay.core.tokens import MODALITIES, TokenUsage

LAG_INTERVAL_S: Final = 0.25

_SETUP_BUCKETS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0)
_LATENCY_BUCKETS_S: Final = (0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)
_LAG_BUCKETS_S: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1.0)


class CallsSource(Protocol):
    """What a scrape asks of the calls. The totals only ever grow: ended calls stay in them."""

    def live_count(self) -> int: ...

    def packet_totals(self) -> Mapping[tuple[LegName, Direction], int]:
        """RTP and RTCP packets that a leg received or sent, by the direction they travel in."""
        ...

    def drop_totals(self) -> Mapping[str, int]:
        """Packets that were not forwarded, by reason."""
        ...

    def added_latency_totals_ms(self) -> Buckets:
        """What the relay added to the way of the packets that were timed."""
        ...


class Metrics(Collector):
    """The metrics of one process, in a registry of its own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._ended: Counter[str] = Counter()
        self._paths: Counter[tuple[LegName, str, str]] = Counter()
        self._source: CallsSource | None = None
        self._setup = Histogram(
            "relay_setup_seconds",
            "From a call's request to its answer",
            buckets=_SETUP_BUCKETS_S,
            registry=self._registry,
        )
        self._lag = Histogram(
            "relay_event_loop_lag_seconds",
            "How late the event loop woke a sleeper",
            buckets=_LAG_BUCKETS_S,
            registry=self._registry,
        )
        self._latency = Histogram(
            "relay_response_latency_seconds",
            "From the end of a user's speech to the first audible packet of the answer",
            buckets=_LATENCY_BUCKETS_S,
            registry=self._registry,
        )
        self._tokens: Counter[str] = Counter()
        self._cost_usd = Decimal(0)
        self._charging = threading.Lock()
        self._waiting: Callable[[], int] | None = None
        self._registry.register(self)

    def watch(self, source: CallsSource) -> None:
        """Reads packets and live calls from `source` at each scrape."""
        self._source = source

    def call_answered(self, setup_s: float) -> None:
        """A call got its answer, `setup_s` seconds after its request."""
        self._setup.observe(setup_s)

    def call_ended(self, outcome: str) -> None:
        """A call ended; `outcome` is one of a few words (`core.lifecycle.Outcome`)."""
        self._ended[outcome] += 1

    def path_selected(self, leg: LegName, types: str, transport: str) -> None:
        """A leg goes by another pair of candidates: their types, and its first hop's transport."""
        self._paths[leg, types, transport] += 1

    def charged(self, tokens: TokenUsage, usd: Decimal) -> None:
        """A response or a transcription was charged for. From any thread."""
        with self._charging:
            for kind in ("input", "cached", "output"):
                for modality in MODALITIES:
                    number = getattr(tokens, kind).of(modality)
                    if number:
                        self._tokens[f"{kind}_{modality}"] += number
            self._cost_usd += usd

    def heard(self, latency_ms: float | None) -> None:
        """A response was heard so long after the speech that it answers. From any thread."""
        if latency_ms is not None:
            self._latency.observe(latency_ms / 1000)

    def watch_recorder(self, waiting: Callable[[], int] | None) -> None:
        """Reads at each scrape how many packets and events wait to be written."""
        self._waiting = waiting

    def render(self) -> tuple[bytes, str]:
        """The exposition text and its content type."""
        return generate_latest(self._registry), CONTENT_TYPE_LATEST

    async def measure_loop_lag(self) -> None:
        """Runs until cancelled: sleeps, and notes how much longer it took."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + LAG_INTERVAL_S
            await asyncio.sleep(LAG_INTERVAL_S)
            self._lag.observe(max(0.0, loop.time() - due))

    def collect(self) -> Iterable[Metric]:
        # By hand, for prometheus-client takes the gauge `relay_sessions` and the counter
        # `relay_sessions_total` for one name; Prometheus itself does not.
        ended = CounterMetricFamily(
            "relay_sessions", "Calls that have ended, by outcome", labels=["outcome"]
        )
        for outcome, count in sorted(self._ended.items()):
            ended.add_metric([outcome], count)
        yield ended
        paths = CounterMetricFamily(
            "relay_ice_pairs",
            "Candidate pairs that came to carry a leg",
            labels=["leg", "type", "protocol"],
        )
        for labels, count in sorted(self._paths.items()):
            paths.add_metric(labels, count)
        yield paths
        yield from self._of_usage()
        if self._waiting is not None:
            waiting = self._waiting()
            yield GaugeMetricFamily(
                "relay_recording_queue", "Packets and events that wait to be written", value=waiting
            )
        if self._source is not None:
            yield from _of_calls(self._source)

    def _of_usage(self) -> Iterable[Metric]:
        with self._charging:
            tokens, usd = dict(self._tokens), self._cost_usd
        family = CounterMetricFamily(
            "relay_tokens", "Tokens that the upstream told of", labels=["kind"]
        )
        for kind, count in sorted(tokens.items()):
            family.add_metric([kind], count)
        yield family
        yield CounterMetricFamily(
            "relay_cost_usd", "What they cost by the price table", value=float(usd)
        )


def _of_calls(source: CallsSource) -> Iterable[Metric]:
    yield GaugeMetricFamily("relay_sessions", "Calls now", value=source.live_count())
    packets = CounterMetricFamily(
        "relay_packets", "RTP and RTCP packets of a leg", labels=["leg", "direction"]
    )
    for (leg, direction), count in sorted(source.packet_totals().items()):
        packets.add_metric([leg, direction], count)
    yield packets
    dropped = CounterMetricFamily(
        "relay_packets_dropped", "Packets that were not forwarded", labels=["reason"]
    )
    for reason, count in sorted(source.drop_totals().items()):
        dropped.add_metric([reason], count)
    yield dropped
    yield _forwarding(source.added_latency_totals_ms())


def _forwarding(timed_ms: Buckets) -> HistogramMetricFamily:
    bounds = [*(str(bound / 1000) for bound in timed_ms.bounds), "+Inf"]
    buckets = list(zip(bounds, accumulate(timed_ms.counts), strict=True))
    return HistogramMetricFamily(
        "relay_forward_seconds",
        "From a packet's being read off its socket until it was sent on; one packet in 64",
        buckets=buckets,
        sum_value=timed_ms.total / 1000,
    )
