"""Calls one after another, and answers one after another: what the worker does besides a load."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

from relay.core.sdp import Description
from relay.loadtest.call import LoadCall
from relay.loadtest.conductor import Conductor
from relay.loadtest.model import LoadModel
from relay.loadtest.offer import load_offer
from relay.loadtest.signaling import Answered, CallFailed, Signaling
from relay.loadtest.statistics import Percentiles
from relay.loadtest.voice import FIRST_SSRC, StampedVoice
from relay.rtc import CertificateStore, IceOptions, Leg, Sockets

API_KEY = "sk-bench"
_TALK_S = 0.2
"""Ten packets each way, some of them echoed."""


class Churn:
    """`at_once` calls at any time until `calls` were made; every other one is hung up by DELETE.

    The rest just closes its leg, as a browser's tab does.
    """

    def __init__(self, url: str, calls: int, at_once: int, payloads: Sequence[bytes]) -> None:
        self._signaling = Signaling(url, API_KEY)
        self._left = calls
        self._model = LoadModel(calls=at_once)
        self._payloads = payloads
        self._conductor = Conductor(self._model)
        self._certificates = CertificateStore()
        self._sockets = Sockets(IceOptions())
        self._failures: Counter[str] = Counter()

    async def run(self) -> dict[str, Any]:
        try:
            async with asyncio.TaskGroup() as group:
                for slot in range(self._model.calls):
                    group.create_task(self._call_after_call(slot))
        finally:
            self._conductor.close()
            await self._signaling.close()
            self._sockets.close()
        window = self._conductor.window
        return {
            "failures": dict(self._failures),
            "packets_sent": window.packets_sent,
            "packets_received": window.packets_received,
        }

    async def _call_after_call(self, slot: int) -> None:
        while self._left > 0:
            self._left -= 1
            hang_up = self._left % 2 == 0
            leg = Leg("upstream", self._sockets, self._certificates.current(), offers=True)
            voice = StampedVoice(slot, self._model, self._payloads)
            call = LoadCall(slot, self._model, voice, self._conductor, leg)
            try:
                await call.open(self._signaling)
                self._conductor.seat(slot, call)
                await asyncio.sleep(_TALK_S)
            except CallFailed as failure:
                self._failures[failure.reason] += 1
            finally:
                await call.close(self._signaling if hang_up else None)


async def post_in_turn(urls: Sequence[str], times: int) -> list[dict[str, float] | None]:
    """POSTs an offer to each URL in turn, `times` over, and hangs up at once.

    In turn, so that whatever else the machine does falls on all of them. Times in ms. Raises
    CallFailed.
    """
    signalings = [Signaling(url, API_KEY) for url in urls]
    elapsed_ms: list[list[float]] = [[] for _ in urls]
    sockets, certificates = Sockets(IceOptions()), CertificateStore()
    try:
        for _ in range(times):
            for signaling, found in zip(signalings, elapsed_ms, strict=True):
                answered = await _post_once(signaling, sockets, certificates)
                found.append(answered.elapsed_ms)
    finally:
        for signaling in signalings:
            await signaling.close()
        sockets.close()
    shapes = [Percentiles.of(found) for found in elapsed_ms]
    return [None if shape is None else shape.to_json() for shape in shapes]


async def media_port(url: str) -> int:
    """The UDP port in a server's answer. Raises CallFailed."""
    signaling, sockets = Signaling(url, API_KEY), Sockets(IceOptions())
    try:
        answered = await _post_once(signaling, sockets, CertificateStore())
    finally:
        await signaling.close()
        sockets.close()
    candidates = Description.parse(answered.sdp).transport.candidates
    return next(candidate.port for candidate in candidates if candidate.transport == "udp")


async def _post_once(
    signaling: Signaling, sockets: Sockets, certificates: CertificateStore
) -> Answered:
    leg = Leg("upstream", sockets, certificates.current(), offers=True)
    try:
        answered = await signaling.post(load_offer(await leg.gather(), number=1, ssrc=FIRST_SSRC))
        if answered.location is not None:
            await signaling.hang_up(answered.location)
    finally:
        await leg.close()
    return answered
