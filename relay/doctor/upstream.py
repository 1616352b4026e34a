"""The upstream: its API, and a real call to it by each transport, hung up at once.

A call without a word costs nothing at OpenAI; its answer is the only place where the media
addresses are told.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from relay.app.options import ice_options, upstream_options
from relay.core.errors import RelayError, UpstreamRefused
from relay.core.sdp import Description
from relay.doctor.finding import Finding, Status
from relay.loadtest.offer import load_offer
from relay.rtc import CertificateStore, IceOptions, Leg, LegFailed, Sockets
from relay.settings import Settings
from relay.upstream.openai import OpenAIUpstream
from relay.upstream.provider import UpstreamOffer

API_TIMEOUT_S: Final = 10.0
CONNECT_TIMEOUT_S: Final = 6.0

Way = tuple[str, IceOptions]


async def calls(settings: Settings) -> list[Finding]:
    """A finding for the API, then one for each way of the media. Stops where the API refuses."""
    findings: list[Finding] = []
    upstream = OpenAIUpstream(upstream_options(settings))
    try:
        for name, options in _ways(settings):
            api, media = await _try(upstream, settings, name, options)
            if not findings or api.status is not Status.GOOD:
                findings.append(api)
            if media is None:
                break
            findings.append(media)
    finally:
        await upstream.close()
    return [*findings, *_judged(findings)]


def _ways(settings: Settings) -> Iterator[Way]:
    """What `upstream.transport` allows, each alone."""
    options = ice_options(settings, None)
    wanted = settings.upstream.transport
    if wanted in ("auto", "udp"):
        yield "udp", replace(options, upstream_transport="udp", upstream_servers=())
    if wanted in ("auto", "tcp"):
        yield "tcp", replace(options, upstream_transport="tcp", upstream_servers=())
    if wanted in ("auto", "turn") and any(s.is_turn for s in options.upstream_servers):
        yield "turn", replace(options, upstream_policy="relay")


async def _try(
    upstream: OpenAIUpstream, settings: Settings, name: str, options: IceOptions
) -> tuple[Finding, Finding | None]:
    sockets = Sockets(options)
    leg = Leg("upstream", sockets, CertificateStore().current(), offers=True)
    call_id: str | None = None
    started = time.monotonic()
    try:
        leg.create_channel("oai-events")
        sdp = load_offer(await leg.gather(), number=1, ssrc=1)
        model = settings.upstream.model
        offer = UpstreamOffer(sdp, model, {"type": "realtime", "model": model})
        answer = await upstream.open_call(offer, timeout_s=API_TIMEOUT_S)
        call_id = answer.call_id
        api = Finding(
            "upstream_api",
            Status.GOOD,
            f"{settings.upstream.url} answers calls",
            elapsed_ms=round(answer.elapsed_s * 1000, 1),
        )
        return api, await _connect(leg, name, sdp, answer.sdp, time.monotonic())
    except RelayError as error:
        return _refused(settings, error, started), None
    finally:
        await leg.close()
        sockets.close()
        if call_id is not None:
            await _hang_up(upstream, call_id)


async def _connect(leg: Leg, name: str, offer: str, answer: str, started: float) -> Finding:
    check = f"upstream_media_{name}"
    try:
        description = Description.parse_answer(answer, Description.parse(offer))
        await leg.connect(description.transport, description.sctp, timeout_s=CONNECT_TIMEOUT_S)
    except LegFailed as error:
        return Finding(check, Status.WARNING, f"does not connect: {error.reason}")
    elapsed_ms = round((time.monotonic() - started) * 1000, 1)
    stats = leg.stats()
    return Finding(check, Status.GOOD, f"connects to {stats.remote_address}", elapsed_ms=elapsed_ms)


async def _hang_up(upstream: OpenAIUpstream, call_id: str) -> None:
    try:
        await upstream.hang_up(call_id, timeout_s=API_TIMEOUT_S)
    except RelayError:  # the call ends by itself when its leg is gone
        return


def _refused(settings: Settings, error: RelayError, started: float) -> Finding:
    advice = "Check upstream.url, upstream.http_proxy, upstream.ca_bundle and the way there."
    detail = error.message
    if isinstance(error, UpstreamRefused):
        detail = f"{settings.upstream.url} answers with status {error.status}"
        advice = "Check the key and upstream.model." if error.status in (401, 403, 404) else ""
    elapsed_ms = round((time.monotonic() - started) * 1000, 1)
    return Finding("upstream_api", Status.FATAL, detail, advice, elapsed_ms)


def _judged(findings: list[Finding]) -> Iterator[Finding]:
    """No call can work where the API answers and no way of the media connects."""
    media = [f for f in findings if f.check.startswith("upstream_media_")]
    if media and not any(f.status is Status.GOOD for f in media):
        yield Finding(
            "upstream_media",
            Status.FATAL,
            "no transport reaches the upstream's media",
            "Open UDP 3478 or TCP 443 to it, set upstream.http_proxy, or a turn: server in "
            "ice.servers.",
        )
