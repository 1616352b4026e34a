"""The matrix as a table, for a terminal and for docs/reach.md."""

from __future__ import annotations

from collections.abc import Sequence

from tests.netns.lab.reach import Outcome

TITLES = (
    "network",
    "connects",
    "browser → relay",
    "relay → upstream",
    "answer",
    "connected",
    "first packet",
    "voices",
    "events",
    "silence",
    "of it, restart",
)
PATHS = {
    "udp": "UDP",
    "tcp": "ICE-TCP",
    "turn-udp": "TURN over UDP",
    "turn-tcp": "TURN over TCP",
    "turn-tls": "TURN over TLS",
}


def cells(outcome: Outcome) -> list[str]:
    """One row. Times in ms since the POST; what was not reached is a dash."""
    return [
        outcome.row.network,
        "yes" if outcome.error is None else f"no: {outcome.error}",
        PATHS.get(outcome.path or "", "–"),
        PATHS.get(outcome.upstream_path or "", "–"),
        *(_ms(outcome.ms(what)) for what in ("answer", "connected", "first_packet")),
        "both ways" if outcome.is_heard else "no",
        "both ways" if outcome.has_events else "no",
        *(_ms(outcome.ms(what)) for what in ("gap", "restart")),
    ]


def markdown(outcomes: Sequence[Outcome]) -> str:
    lines = [TITLES, ["---"] * len(TITLES), *(cells(outcome) for outcome in outcomes)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def plain(outcome: Outcome) -> str:
    """One row as a line of a terminal."""
    named = zip(TITLES[2:], cells(outcome)[2:], strict=True)
    facts = ", ".join(f"{title} {cell}" for title, cell in named if cell != "–")
    return f"{outcome.row.network}\n    {cells(outcome)[1]}: {facts}"


def _ms(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f} ms"
