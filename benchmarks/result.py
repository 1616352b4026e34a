"""From what was measured to the figures, and to the JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from statistics import fmean, median, quantiles
from typing import Any

from . import figures
from .bench import HELD, Measurements, leftovers
from .control import QUIET_SHARE, Reading
from .figures import Figure, Target
from .plan import Plan

_NOT_ASKED_FOR = "not part of this run"


def figures_of(found: Measurements, plan: Plan) -> list[Figure]:
    """The rows with targets first, each with what it was compared with in its note."""
    return [
        *_cpu(found, plan),
        *_round_trip(found, plan),
        *_recording(found, plan),
        *_loss(found),
        *_setup(found),
        *_memory(found, plan),
        *_churn(found, plan),
    ]


def yardsticks_of(found: Measurements, plan: Plan) -> list[Figure]:
    """The same figures of the forwarder and of the obvious relay, for comparison alone."""
    return [*_forwarder(found, plan), *_obvious(found, plan)]


def measured(rows: list[Figure]) -> list[Figure]:
    """Without the rows that were left out on purpose."""
    return [figure for figure in rows if figure.note != _NOT_ASKED_FOR]


def to_json(found: Measurements) -> dict[str, Any]:
    """Everything as it was measured."""
    return {
        "readings": {name: _reading_json(reading) for name, reading in found.readings.items()},
        "recording": [
            {"on": _reading_json(on), "off": _reading_json(off)} for on, off in found.turns
        ],
        "empty": {name: asdict(footprint) for name, footprint in found.empty.items()},
        "posts": found.posts,
        "churn": found.churn,
        "recorded": found.recorded,
        "failures": found.failures,
    }


def _reading_json(reading: Reading) -> dict[str, Any]:
    return asdict(reading) | {"load": reading.load.to_json()}


def disturbed(found: Measurements) -> list[str]:
    """The windows in which others used the machine, or in which the load was not punctual."""
    return [
        f"{name}: {reading.others_share:.0%} of the machine was used by others"
        for name, reading in found.readings.items()
        if reading.others_share > QUIET_SHARE
    ]


def _cpu(found: Measurements, plan: Plan) -> Iterator[Figure]:
    for model, target in ((plan.most, figures.CPU_RATIO), (plan.fewer, None)):
        name = f"CPU per call-second at {model.calls} calls, of the bare forwarder's"
        relay = found.readings.get(f"relay {model.calls}")
        forwarder_ms = _forwarder_cpu_ms(found, model.calls)
        if relay is None or not forwarder_ms:
            yield Figure(name, "×", None, target, _why(found, "relay"))
            continue
        measured = " and ".join(f"{value:.3f}" for value in forwarder_ms)
        note = f"relay {relay.cpu_ms_per_call_s:.3f} ms; forwarder {measured} ms, the least counts"
        yield Figure(name, "×", relay.cpu_ms_per_call_s / min(forwarder_ms), target, note)


def _round_trip(found: Measurements, plan: Plan) -> Iterator[Figure]:
    relay = found.readings.get(f"relay {plan.most.calls}")
    direct = found.readings.get(f"direct {plan.most.calls}")
    for kind, attribute, p50, p99 in (
        ("round trip", "round_trip_ms", figures.ADDED_P50_MS, figures.ADDED_P99_MS),
        ("event round trip", "event_round_trip_ms", None, None),
    ):
        for percentile, target in (("p50", p50), ("p99", p99)):
            name = f"added {kind}, {plan.most.calls} calls, {percentile}"
            yield _added(found, name, relay, direct, attribute, percentile, target)


def _added(
    found: Measurements,
    name: str,
    relay: Reading | None,
    direct: Reading | None,
    attribute: str,
    percentile: str,
    target: Target | None,
) -> Figure:
    through = relay and getattr(relay.load, attribute)
    without = direct and getattr(direct.load, attribute)
    if not through or not without:
        return Figure(name, "ms", None, target, _why(found, "relay"))
    a, b = getattr(through, percentile), getattr(without, percentile)
    return Figure(name, "ms", a - b, target, f"{a:.3f} ms through it, {b:.3f} ms without it")


def _recording(found: Measurements, plan: Plan) -> Iterator[Figure]:
    """What keeping calls costs, over the turns, each a window with it and one without: of CPU by
    the means, for what differs from one set of calls to the next is no outlier; of p99, which has
    some, by the median."""
    turns = found.turns
    names = (f"recording: CPU at {plan.most.calls} calls, more than without", _RECORDING_P99)
    if not turns or "recording" in found.failures:
        for name, target in zip(names, _RECORDING_TARGETS, strict=True):
            yield Figure(name, "", None, target, _why(found, "recording"))
        return
    kept = ", ".join(f"{value} {name.replace('_', ' ')}" for name, value in found.recorded.items())
    cpu = [(on.cpu_ms_per_call_s, off.cpu_ms_per_call_s) for on, off in turns]
    with_it, without = map(fmean, zip(*cpu, strict=True))
    more = 100 * (with_it / without - 1)
    others = max(reading.others_share for turn in turns for reading in turn)
    note = f"{_told(cpu)}; {kept}; others used up to {others:.0%} of the machine"
    yield Figure(names[0], "%", more, _RECORDING_TARGETS[0], note)
    p99 = [
        (on.load.round_trip_ms.p99, off.load.round_trip_ms.p99)
        for on, off in turns
        if on.load.round_trip_ms and off.load.round_trip_ms
    ]
    if not p99:
        yield Figure(names[1], "ms", None, _RECORDING_TARGETS[1], "no marked packets came back")
        return
    later = median(on - off for on, off in p99)
    yield Figure(names[1], "ms", later, _RECORDING_TARGETS[1], f"p99 {_told(p99)}")


def _told(turns: list[tuple[float, float]]) -> str:
    """Medians in ms, and where half of the values lie."""
    with_it, without = (_spread(values) for values in zip(*turns, strict=True))
    return f"{with_it} ms with it, {without} without, in {len(turns)} turns"


def _spread(values: Sequence[float]) -> str:
    if len(values) < 2:
        return f"{values[0]:.2f}"
    low, middle, high = quantiles(values, n=4)
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


_RECORDING_P99 = "recording: added to the round trip's p99"
_RECORDING_TARGETS = (figures.RECORDING_CPU_PERCENT, figures.RECORDING_P99_MS)


def _loss(found: Measurements) -> Iterator[Figure]:
    name = "growth of the round trip's p50 after 1 % loss"
    yield _growth(found, "relay", "loss", name, figures.LOSS_GROWTH_MS)


def _growth(found: Measurements, who: str, part: str, name: str, target: Target | None) -> Figure:
    windows = [found.readings.get(f"{who} {when} loss") for when in ("before", "during", "after")]
    shapes = [window and window.load.round_trip_ms for window in windows]
    before, during, after = shapes
    if not before or not during or not after:
        return Figure(name, "ms", None, target, _why(found, part))
    lossy = windows[1]
    assert lossy is not None
    lost = 1 - lossy.load.marks_echoed / max(1, lossy.load.marks_sent)
    note = (
        f"p50 {before.p50:.3f} ms before, {during.p50:.3f} ms during, {after.p50:.3f} ms after; "
        f"{lost:.1%} of the marked packets were lost in {lossy.load.seconds:.0f} s"
    )
    return Figure(name, "ms", after.p50 - before.p50, target, note)


def _setup(found: Measurements) -> Iterator[Figure]:
    for when, target in (("idle", figures.SETUP_P95_MS), ("busy", None)):
        name = f"POST to answer beyond the upstream's own time, p95, {when}"
        posts = found.posts.get(when)
        if not posts:
            yield Figure(name, "ms", None, target, _why(found, "relay"))
            continue
        direct, through = posts
        note = (
            f"relay p50 {through['p50']:.2f}, p95 {through['p95']:.2f} ms; "
            f"upstream alone p50 {direct['p50']:.2f} ms, subtracted; {through['count']:.0f} of each"
        )
        yield Figure(name, "ms", through["p95"] - direct["p50"], target, note)


def _memory(found: Measurements, plan: Plan) -> Iterator[Figure]:
    reading, empty = found.readings.get(f"relay {plan.most.calls}"), found.empty.get("relay")
    name = f"memory a call (PSS, {plan.most.calls} calls)"
    if reading is None or empty is None:
        yield Figure(name, "MB", None, figures.MEMORY_MB, _why(found, "relay"))
        return
    full = reading.footprint
    note = f"{empty.pss_mb:.1f} MB with none, {full.pss_mb:.1f} MB with {plan.most.calls}"
    value = (full.pss_mb - empty.pss_mb) / plan.most.calls
    yield Figure(name, "MB", value, figures.MEMORY_MB, note)


def _churn(found: Measurements, plan: Plan) -> Iterator[Figure]:
    churn = found.churn
    for name, target in (("left behind", figures.LEFTOVERS), ("RSS growth", figures.GROWTH_MB)):
        if not churn:
            yield Figure(f"calls one after another: {name}", "", None, target, _why(found, "churn"))
            continue
        before, after = churn["before"], churn["after"]
        more = {kind: after[kind] - before[kind] for kind in HELD}
        full_name = f"{churn['calls']} calls one after another: {name}"
        if target is figures.LEFTOVERS:
            note = ", ".join(f"{kind} {count:+d}" for kind, count in more.items())
            left = leftovers(before, after, at_once=plan.churn_at_once)
            yield Figure(full_name, "", left, target, note)
        else:
            growth = after["rss_mb"] - before["rss_mb"]
            sizes = (f"{held['rss_mb']:.1f}" for held in (before, churn["halfway"], after))
            note = f"{' → '.join(sizes)} MB: before, after one half, after the other"
            yield Figure(full_name, "MB", growth, target, note)


def _forwarder_cpu_ms(found: Measurements, calls: int) -> list[float]:
    names = (f"forwarder {calls}", f"forwarder {calls} again")
    readings = (found.readings.get(name) for name in names)
    return [reading.cpu_ms_per_call_s for reading in readings if reading is not None]


def _forwarder(found: Measurements, plan: Plan) -> Iterator[Figure]:
    for model in (plan.fewer, plan.most):
        values = _forwarder_cpu_ms(found, model.calls)
        value = min(values, default=None)
        note = "" if values else _why(found, "relay")
        yield Figure(
            f"bare forwarder: CPU per call-second at {model.calls}", "ms", value, None, note
        )
    reading = found.readings.get(f"forwarder {plan.most.calls}")
    direct = found.readings.get(f"direct {plan.most.calls}")
    for percentile in ("p50", "p99"):
        name = f"bare forwarder: added round trip, {plan.most.calls} calls, {percentile}"
        yield _added(found, name, reading, direct, "round_trip_ms", percentile, None)


def _obvious(found: Measurements, plan: Plan) -> Iterator[Figure]:
    calls = plan.obvious.calls
    reading = found.readings.get("obvious before loss")
    if reading is None:
        yield Figure("obvious relay", "", None, None, _why(found, "obvious"))
        return
    name = f"obvious relay: CPU per call-second at {calls}"
    yield Figure(name, "ms", reading.cpu_ms_per_call_s, None)
    direct = found.readings.get("obvious direct")
    yield _added(
        found,
        f"obvious relay: added round trip, {calls} calls, p50",
        reading,
        direct,
        "round_trip_ms",
        "p50",
        None,
    )
    name = "obvious relay: growth of the round trip's p50 after 1 % loss"
    yield _growth(found, "obvious", "obvious", name, None)
    empty = found.empty.get("obvious")
    if empty is not None:
        value = (reading.footprint.pss_mb - empty.pss_mb) / calls
        yield Figure("obvious relay: memory a call (PSS)", "MB", value, None)


def _why(found: Measurements, part: str) -> str:
    return found.failures.get(part) or _NOT_ASKED_FOR
