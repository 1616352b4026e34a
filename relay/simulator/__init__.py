"""The upstream simulator: an OpenAI-shaped Realtime endpoint for demos, tests and load.

```python
simulator = Simulator(SimulatorOptions(think_s=0.1))
upstream_url = await simulator.start()   # http://127.0.0.1:PORT/v1
...
await simulator.stop()
```
"""

from relay.simulator.faults import Fail, Faults
from relay.simulator.options import SimulatorOptions
from relay.simulator.server import Simulator, run

__all__ = ["Fail", "Faults", "Simulator", "SimulatorOptions", "run"]
