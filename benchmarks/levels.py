"""What level meters cost while somebody reads them: `python -m benchmarks.levels [CALLS]`.

The meters of so many calls get both sides' speech as 50 packets a second each, and are read five
times a second, as `GET /admin/v1/levels` does; in as little time as it takes, for it is the CPU
that counts. One line: the share of a core for reading, and what a packet pays for its copy.
"""

from __future__ import annotations

import struct
import sys
import time
from itertools import cycle, islice

from relay.core.sdpmedia import Codec
from relay.loadtest.speech import stored_payloads
from relay.session.meters import TICK_S
from relay.taps.meter import Meter

CALLS = 50
TICKS = 50
PACKETS_A_TICK = round(TICK_S * 50)
PAYLOAD_TYPE = 111


def packets() -> list[bytes]:
    """A speech as RTP packets, long enough that each tick has others."""
    payloads = islice(cycle(stored_payloads()), TICKS * PACKETS_A_TICK)
    return [
        struct.pack("!BBHII", 0x80, PAYLOAD_TYPE, n & 0xFFFF, n * 960, 1) + payload
        for n, payload in enumerate(payloads)
    ]


def main(calls: int) -> None:
    speech = packets()
    meters = [Meter({PAYLOAD_TYPE: Codec(PAYLOAD_TYPE, "opus", 48_000, 2)}) for _ in range(calls)]
    tapped_s = read_s = 0.0
    heard = 0
    for tick in range(TICKS):
        part = speech[tick * PACKETS_A_TICK : (tick + 1) * PACKETS_A_TICK]
        began = time.process_time()
        for meter in meters:
            for packet in part:
                meter.tap("up", False, packet)
                meter.tap("down", False, packet)
        told = time.process_time()
        heard += sum(meter.read().client is not None for meter in meters)
        read_s += time.process_time() - told
        tapped_s += told - began
    share = read_s / (TICKS * TICK_S)
    each_us = tapped_s / (TICKS * calls * 2 * PACKETS_A_TICK) * 1e6
    print(
        f"{calls} calls, both sides, {1 / TICK_S:.0f} times a second: {share:.1%} of a core, "
        f"{each_us:.2f} us a packet on its way; {heard} of {TICKS * calls} had sound"
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else CALLS)
