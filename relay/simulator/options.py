"""What a simulator can be told."""

from __future__ import annotations

from dataclasses import dataclass, field

from relay.simulator.faults import Faults

DEFAULT_MODEL = "gpt-realtime-2.1"


@dataclass(frozen=True, slots=True)
class SimulatorOptions:
    """How one simulator behaves.

    `host` and `port` are the HTTP listener's; media uses the same host, `udp_port` and (passive
    ICE-TCP, None = off) `tcp_port`. 0 is any free port.
    `models` are shell patterns: any other model is answered with `model_not_found`, as OpenAI
    answers the names of the beta. `load` turns listening and speaking off and replays stored Opus.
    `video` accepts a VP8 section and echoes it. `think_s` is the time from a committed turn to the
    first audio of its answer, `max_duration_s` OpenAI's 60 minutes.
    """

    host: str = "127.0.0.1"
    port: int = 0
    udp_port: int = 0
    tcp_port: int | None = 0
    models: tuple[str, ...] = ("gpt-realtime*",)
    load: bool = False
    video: bool = False
    faults: Faults = field(default_factory=Faults)
    think_s: float = 0.2
    max_duration_s: float = 3600.0
    connect_timeout_s: float = 30.0
    max_calls: int = 1000
