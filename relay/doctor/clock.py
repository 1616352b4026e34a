"""This machine's clock against the upstream's: tokens, TURN credentials and records carry times."""

from __future__ import annotations

import asyncio
import ssl
import time
from email.utils import parsedate_to_datetime
from typing import Final

import aiohttp

from relay.app.options import upstream_options
from relay.doctor.finding import Finding, Status
from relay.settings import Settings
from relay.upstream.http import proxy_for

TIMEOUT_S: Final = 8.0
MAX_OFFSET_S: Final = 30.0


async def against(settings: Settings) -> Finding:
    """By the Date of any answer (RFC 9110 §6.6.1), which has seconds."""
    options = upstream_options(settings).http
    proxy = proxy_for(options.url, options.http_proxy)
    if proxy is not None and proxy.startswith("socks"):
        return Finding("clock", Status.OFF, "not compared through a SOCKS proxy")
    trust = await asyncio.to_thread(ssl.create_default_context, cafile=options.ca_bundle)
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(TIMEOUT_S)) as session,
            session.head(options.url, proxy=proxy, ssl=trust, allow_redirects=False) as reply,
        ):
            told = parsedate_to_datetime(reply.headers["Date"]).timestamp()
    except (aiohttp.ClientError, TimeoutError, KeyError, ValueError) as error:
        return Finding("clock", Status.OFF, f"not compared: {type(error).__name__}")
    offset_s = time.time() - told
    if abs(offset_s) > MAX_OFFSET_S:
        detail = f"{abs(offset_s):.0f} s {'ahead of' if offset_s > 0 else 'behind'} the upstream's"
        return Finding("clock", Status.WARNING, detail, "Set the clock, for instance by NTP.")
    return Finding("clock", Status.GOOD, "agrees with the upstream's")
