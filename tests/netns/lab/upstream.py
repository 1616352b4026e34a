"""The simulator as the rows want it: it thinks for no time, so that what is measured is the way.

`python -m tests.netns.lab.upstream OPTIONS`: a JSON object with SimulatorOptions' fields.
"""

from __future__ import annotations

import asyncio
import json
import sys

from relay.simulator import SimulatorOptions
from relay.simulator.server import run

if __name__ == "__main__":
    asyncio.run(
        run(
            SimulatorOptions(think_s=0.0, **json.loads(sys.argv[1])),
            lambda url: print(url, flush=True),
        )
    )
