"""One run: every figure and its yardsticks, measured one after another by the same means."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from relay.loadtest.model import LoadModel

from . import chains
from .control import Pace, Reading, WorkerHandle, read_window, worker
from .forwarder import forwarding
from .machine import Site
from .plan import Plan
from .process import Footprint, Measured, MeasurementError, resumed, stopped

LOSS_PERMILLE = 10
_FIRST_CALLS = 2
"""Before the memory of no call is taken: what the first call loads belongs to none."""

HELD = ("tasks", "threads", "udp sockets", "connections")
"""What may be left behind, besides memory."""

_SETTLE_TIMEOUT_S = 20.0
_CHURN_TIMEOUT_S = 400.0
_OPEN_TIMEOUT_S = 90.0


class Chain(NamedTuple):
    """The relay, its upstream, and who calls it."""

    relay: chains.Server
    simulator: chains.Server
    client: WorkerHandle

    @property
    def ends(self) -> list[Measured]:
        """The processes that make the relay work."""
        return [self.simulator.process, self.client.process]


@dataclass(slots=True)
class Measurements:
    """Everything a run found out, by name; `turns` are readings with recording and without it, one
    after the other; `failures` says why something is missing."""

    readings: dict[str, Reading] = field(default_factory=dict)
    empty: dict[str, Footprint] = field(default_factory=dict)
    posts: dict[str, list[dict[str, float]]] = field(default_factory=dict)
    churn: dict[str, Any] = field(default_factory=dict)
    recorded: dict[str, int] = field(default_factory=dict)
    turns: list[tuple[Reading, Reading]] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)


class Bench:
    """`say` is told what begins, for those who watch."""

    def __init__(self, plan: Plan, site: Site, say: Callable[[str], None]) -> None:
        self.found = Measurements()
        self._plan = plan
        self._site = site
        self._say = say

    async def run(self, only: set[str]) -> Measurements:
        """The parts of `only`, or all. A part that fails is noted, and the others still run."""
        parts: dict[str, Callable[[], Awaitable[None]]] = {
            "relay": self._relay,
            "recording": self._recording,
            "loss": self._loss,
            "churn": self._churn,
            "obvious": self._obvious,
        }
        for name, part in parts.items():
            if only and name not in only:
                continue
            self._say(f"{name} …")
            try:
                await part()
            except MeasurementError as error:
                self.found.failures[name] = str(error)
                self._say(f"{name} failed: {error}")
        return self.found

    async def _relay(self) -> None:
        """The relay, between two readings of the forwarder in its place; same ends, same flows."""
        most, fewer = self._plan.most, self._plan.fewer
        async with self._relay_chain() as (relay, simulator, client):
            await self._read_forwarder(simulator, client, fewer, "")
            await self._read_forwarder(simulator, client, most, "")
            await self._one_after_another(client, relay, _FIRST_CALLS)
            self.found.empty["relay"] = relay.process.footprint()
            self.found.posts["idle"] = await self._post(client, simulator, relay)
            await self._read_calls(f"relay {fewer.calls}", client, relay, simulator, fewer)
            await self._read_calls(
                f"relay {most.calls}", client, relay, simulator, most, with_posts=True
            )
            await self._read_calls(f"direct {most.calls}", client, simulator, simulator, most)
            await self._read_forwarder(simulator, client, most, " again")
            await self._read_forwarder(simulator, client, fewer, " again")

    async def _read_forwarder(
        self, simulator: chains.Server, client: WorkerHandle, model: LoadModel, suffix: str
    ) -> None:
        """The calls go to the upstream itself, and their packets through the forwarder."""
        upstream_port = (await client.order("media_port", url=simulator.url))["port"]
        site = self._site
        async with forwarding(site, "forwarder", upstream_port, core=site.relay_core) as (
            process,
            port,
        ):
            ours = [process, simulator.process, client.process]
            async with self._calls(client, simulator, model, via_port=port):
                self.found.readings[f"forwarder {model.calls}{suffix}"] = await read_window(
                    client, process, ours, calls=model.calls, pace=self._plan.pace
                )

    async def _read_calls(
        self,
        name: str,
        client: WorkerHandle,
        server: chains.Server,
        simulator: chains.Server,
        model: LoadModel,
        pace: Pace | None = None,
        *,
        with_posts: bool = False,
    ) -> None:
        """`with_posts` measures the setup, too, while these calls run."""
        ours = [server.process, client.process]
        if server is not simulator:
            ours.append(simulator.process)
        async with self._calls(client, server, model):
            self.found.readings[name] = await read_window(
                client, server.process, ours, calls=model.calls, pace=pace or self._plan.pace
            )
            if with_posts:
                self.found.posts["busy"] = await self._post(client, simulator, server)

    async def _recording(self) -> None:
        """A relay that keeps nothing and one that keeps everything, each with calls of its own. In
        turns of seconds the ends of one stand still, so that both meet the same moods of the
        machine: those of minutes are larger than what is measured."""
        kept = Counter[str]()
        for _ in range(self._plan.recording_sets):
            with tempfile.TemporaryDirectory(dir=self._site.folder, prefix="kept-") as folder:
                async with (
                    self._standing_still("recording on", Path(folder)) as on,
                    self._standing_still("recording off", None) as off,
                ):
                    ours = [part for chain in (on, off) for part in chain.ends]
                    ours += [on.relay.process, off.relay.process]
                    for turn in range(self._plan.recording_turns):
                        chains_of_turn = (on, off) if turn % 2 == 0 else (off, on)
                        read = {
                            chain: await self._read_turn(chain, ours) for chain in chains_of_turn
                        }
                        self.found.turns.append((read[on], read[off]))
                kept.update(_kept_in(Path(folder)))
        self.found.recorded = dict(kept)
        if kept["lost_packets"] or kept["lost_events"]:
            raise MeasurementError(f"the recorder lost something: {dict(kept)}")

    async def _read_turn(self, chain: Chain, ours: list[Measured]) -> Reading:
        calls, pace = self._plan.most.calls, self._plan.recording
        with resumed(chain.ends):
            return await read_window(
                chain.client, chain.relay.process, ours, calls=calls, pace=pace
            )

    @contextlib.asynccontextmanager
    async def _standing_still(self, name: str, recordings: Path | None) -> AsyncIterator[Chain]:
        """A chain whose calls are up, and whose ends are stopped."""
        folder = self._site.folder / name.replace(" ", "-")
        folder.mkdir(exist_ok=True)
        async with self._relay_chain(recordings, replace(self._site, folder=folder)) as chain:
            await self._one_after_another(chain.client, chain.relay, _FIRST_CALLS)
            async with self._calls(chain.client, chain.relay, self._plan.most):
                with stopped(chain.ends):
                    yield chain

    async def _loss(self) -> None:
        model = self._plan.most
        async with (
            self._relay_chain() as (relay, simulator, client),
            forwarding(
                self._site,
                "client network",
                relay.udp_port,
                core=self._site.load_core,
                loss_permille=LOSS_PERMILLE,
            ) as (network, network_port),
            self._calls(client, relay, model, via_port=network_port),
        ):
            ours = [relay.process, simulator.process, client.process, network]
            await self._around_loss("relay", client, relay.process, network, ours, model)

    async def _obvious(self) -> None:
        model, found = self._plan.obvious, self.found
        async with (
            chains.echo_behind_loss(self._site, LOSS_PERMILLE) as (echo, network),
            chains.obvious_relay(self._site, echo) as obvious,
            worker("obvious client", self._site) as client,
        ):
            ours = [obvious.process, echo.process, client.process, network]
            async with self._calls(client, echo, model, beeps=True):
                found.readings["obvious direct"] = await read_window(
                    client, echo.process, ours, calls=model.calls, pace=self._plan.around_loss
                )
            found.empty["obvious"] = obvious.process.footprint()
            async with self._calls(client, obvious, model, beeps=True):
                await self._around_loss("obvious", client, obvious.process, network, ours, model)

    async def _around_loss(
        self,
        name: str,
        client: WorkerHandle,
        subject: Measured,
        network: Measured,
        ours: list[Measured],
        model: LoadModel,
    ) -> None:
        """A window before, one while packets are lost, one after."""
        around = self._plan.around_loss
        paces = {
            "before": around,
            "during": Pace(warm_up_s=0, window_s=self._plan.loss_s),
            "after": around,
        }
        for when, pace in paces.items():
            network.signal(signal.SIGUSR1 if when == "during" else signal.SIGUSR2)
            self.found.readings[f"{name} {when} loss"] = await read_window(
                client, subject, ours, calls=model.calls, pace=pace
            )

    async def _churn(self) -> None:
        plan = self._plan
        async with self._relay_chain() as (relay, _, client):
            await self._one_after_another(client, relay, plan.churn_warm_up)
            before = await self._settled(relay, None)
            first_half = await self._one_after_another(client, relay, plan.churn_calls // 2)
            halfway = await self._settled(relay, before)
            second_half = await self._one_after_another(client, relay, plan.churn_calls // 2)
            self.found.churn = {
                "calls": plan.churn_calls,
                "halves": [first_half, second_half],
                "before": before,
                "halfway": halfway,
                "after": await self._settled(relay, before),
            }

    async def _settled(self, relay: chains.Server, before: dict[str, Any] | None) -> dict[str, Any]:
        """What the relay holds once nothing changes any more, or `before` is reached again."""
        held: dict[str, Any] = {}
        deadline = asyncio.get_running_loop().time() + _SETTLE_TIMEOUT_S
        while asyncio.get_running_loop().time() < deadline:
            last, held = held, await _held(relay)
            if before is None and last and leftovers(last, held, at_once=0) == 0:
                break
            if before and leftovers(before, held, at_once=self._plan.churn_at_once) == 0:
                break
            await asyncio.sleep(1)
        return held

    async def _post(
        self, client: WorkerHandle, simulator: chains.Server, relay: chains.Server
    ) -> list[dict[str, float]]:
        answer = await client.order(
            "post", urls=[simulator.url, relay.url], times=self._plan.posts, timeout_s=120
        )
        elapsed_ms: list[dict[str, float]] = answer["elapsed_ms"]
        return elapsed_ms

    async def _one_after_another(
        self, client: WorkerHandle, server: chains.Server, calls: int
    ) -> dict[str, Any]:
        answer = await client.order(
            "churn",
            url=server.url,
            calls=calls,
            at_once=self._plan.churn_at_once,
            timeout_s=_CHURN_TIMEOUT_S,
        )
        if answer["failures"]:
            raise MeasurementError(f"calls failed: {answer['failures']}")
        return answer

    @contextlib.asynccontextmanager
    async def _relay_chain(
        self, recordings: Path | None = None, site: Site | None = None
    ) -> AsyncIterator[Chain]:
        site = site or self._site
        async with (
            chains.simulator(site) as simulator,
            chains.relay(site, simulator, recordings) as relay,
            worker("client", site) as client,
        ):
            yield Chain(relay, simulator, client)

    @contextlib.asynccontextmanager
    async def _calls(
        self, client: WorkerHandle, server: chains.Server, model: LoadModel, **options: Any
    ) -> AsyncIterator[None]:
        """`model`'s calls to `server`, all of them up."""
        openings = await client.order(
            "open_calls",
            url=server.url,
            model=model.to_json(),
            timeout_s=_OPEN_TIMEOUT_S,
            **options,
        )
        try:
            if openings["failures"]:
                raise MeasurementError(f"calls failed: {openings['failures']}")
            yield
        finally:
            await client.order("close")


def _kept_in(folder: Path) -> dict[str, int]:
    """What was kept of all calls, and what was lost of them: a recorder that keeps nothing is
    quick."""
    sessions = [json.loads(path.read_text()) for path in folder.glob("*/*/session.json")]
    audio = [side for session in sessions for side in session["recording"]["audio"]]
    lost = [session["recording"]["lost"] for session in sessions]
    return {
        "calls": len(sessions),
        "packets": sum(side["placed"] for side in audio),
        "lost_packets": sum(one["packets"] for one in lost),
        "lost_events": sum(one["events"] for one in lost),
    }


async def _held(relay: chains.Server) -> dict[str, Any]:
    probe, footprint = await chains.probed(relay), relay.process.footprint()
    return {
        "tasks": probe["tasks"],
        "threads": footprint.threads,
        "udp sockets": footprint.udp_sockets,
        "connections": footprint.tcp_connections,
        "rss_mb": footprint.rss_mb,
        "task_names": probe["names"],
    }


def leftovers(before: dict[str, Any], after: dict[str, Any], *, at_once: int) -> int:
    """How many tasks, threads and sockets there are more than before.

    HTTP connections are kept alive, one for each of the calls that were opened or hung up at once:
    only those above are left behind.
    """
    more = {kind: after[kind] - before[kind] for kind in HELD}
    more["connections"] -= 2 * at_once
    return sum(max(0, count) for count in more.values())
