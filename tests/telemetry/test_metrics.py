"""The metrics' names, labels and values, as Prometheus' own parser reads them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest
from prometheus_client.parser import text_string_to_metric_families

from relay.core.ids import Direction, LegName
from relay.core.quality import Histogram
from relay.telemetry.metrics import LAG_INTERVAL_S, Metrics


class TwoCalls:
    """What `session.Calls` tells a scrape."""

    def live_count(self) -> int:
        return 2

    def packet_totals(self) -> Mapping[tuple[LegName, Direction], int]:
        return {("client", "up"): 50, ("client", "down"): 40, ("upstream", "up"): 49}

    def drop_totals(self) -> Mapping[str, int]:
        return {"replayed": 1}

    def added_latency_totals_ms(self) -> Histogram:
        timed_ms = Histogram()
        for value in (0.04, 0.3, 0.4, 250.0):
            timed_ms.add(value)
        return timed_ms


def read(metrics: Metrics, name: str, **labels: str) -> float | None:
    text = metrics.render()[0].decode()
    found = [
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name and sample.labels == labels
    ]
    assert len(found) <= 1
    return found[0] if found else None


def test_metrics_of_calls_are_read_at_the_scrape() -> None:
    metrics = Metrics()
    metrics.watch(TwoCalls())

    assert read(metrics, "relay_sessions") == 2
    assert read(metrics, "relay_packets_total", leg="client", direction="up") == 50
    assert read(metrics, "relay_packets_total", leg="client", direction="down") == 40
    assert read(metrics, "relay_packets_total", leg="upstream", direction="up") == 49
    assert read(metrics, "relay_packets_dropped_total", reason="replayed") == 1


def test_metrics_of_forwarding_are_a_histogram_in_seconds() -> None:
    metrics = Metrics()
    metrics.watch(TwoCalls())

    assert read(metrics, "relay_forward_seconds_bucket", le="5e-05") == 1
    assert read(metrics, "relay_forward_seconds_bucket", le="0.0005") == 3
    assert read(metrics, "relay_forward_seconds_bucket", le="0.1") == 3
    assert read(metrics, "relay_forward_seconds_bucket", le="+Inf") == 4
    assert read(metrics, "relay_forward_seconds_count") == 4
    assert read(metrics, "relay_forward_seconds_sum") == pytest.approx(0.25074)


def test_metrics_of_ends_and_setups_are_counted() -> None:
    metrics = Metrics()

    metrics.call_answered(0.003)
    metrics.call_answered(0.2)
    metrics.call_ended("completed")
    metrics.call_ended("completed")
    metrics.call_ended("failed")

    assert read(metrics, "relay_sessions_total", outcome="completed") == 2
    assert read(metrics, "relay_sessions_total", outcome="failed") == 1
    assert read(metrics, "relay_setup_seconds_count") == 2
    assert read(metrics, "relay_setup_seconds_bucket", le="0.005") == 1


def test_metrics_of_paths_are_counted_by_what_they_are() -> None:
    metrics = Metrics()

    metrics.path_selected("client", "host/prflx", "udp")
    metrics.path_selected("client", "host/prflx", "udp")
    metrics.path_selected("upstream", "relay/host", "turn-tls")

    name = "relay_ice_pairs_total"
    assert read(metrics, name, leg="client", type="host/prflx", protocol="udp") == 2
    assert read(metrics, name, leg="upstream", type="relay/host", protocol="turn-tls") == 1


def test_metrics_of_two_applications_are_apart() -> None:
    one, other = Metrics(), Metrics()

    one.call_ended("completed")

    assert read(one, "relay_sessions_total", outcome="completed") == 1
    assert read(other, "relay_sessions_total", outcome="completed") is None


def test_metrics_without_calls_render() -> None:
    assert read(Metrics(), "relay_setup_seconds_count") == 0


async def test_loop_lag_of_a_held_loop_is_seen() -> None:
    metrics = Metrics()
    task = asyncio.create_task(metrics.measure_loop_lag())
    loop = asyncio.get_running_loop()

    await asyncio.sleep(0)  # the sleeper has gone to sleep
    until = loop.time() + LAG_INTERVAL_S + 0.15
    while loop.time() < until:  # holds the loop beyond the sleeper's due time
        pass
    for _ in range(3):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])

    assert read(metrics, "relay_event_loop_lag_seconds_count") == 1
    assert read(metrics, "relay_event_loop_lag_seconds_bucket", le="0.1") == 0
