"""`python -m relay.simulator`: the simulator alone. `relay simulate` is the same with more care."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys

from relay.simulator.errors import RejectedError
from relay.simulator.faults import Faults
from relay.simulator.options import SimulatorOptions
from relay.simulator.server import run


def main() -> int:
    parser = argparse.ArgumentParser(prog="relay.simulator", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8090)
    parser.add_argument("--load", action="store_true", help="replay Opus, decode nothing")
    parser.add_argument("--video", action="store_true", help="accept VP8 and echo it")
    parser.add_argument("--fault", default="", help="e.g. 429 or slow, drop=5, close-after=3")
    arguments = parser.parse_args()
    try:
        faults = Faults.parse(arguments.fault)
    except RejectedError as error:
        parser.error(error.message)
    options = SimulatorOptions(
        host=arguments.host,
        port=arguments.port,
        load=arguments.load,
        video=arguments.video,
        faults=faults,
    )
    try:
        with contextlib.suppress(KeyboardInterrupt):
            _run(options)
    except OSError as error:
        print(f"The simulator cannot listen: {error}", file=sys.stderr)
        return 1
    return 0


def _run(options: SimulatorOptions) -> None:
    serving = run(options, lambda url: print(url, flush=True))
    try:
        import uvloop
    except ImportError:
        asyncio.run(serving)
    else:
        uvloop.run(serving)


if __name__ == "__main__":
    sys.exit(main())
