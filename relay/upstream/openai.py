"""OpenAI's Realtime calls, and whatever speaks like them: `POST …/realtime/calls` and `…/hangup`.

Two shapes of one request: multipart with the offer and the session, or the bare offer, where a
client's own token carries the session and nothing is added to it. SDP passes as it is: a trimmed
last line is an error there ("failed to unmarshal SDP: EOF").
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import aiohttp
from yarl import URL

from relay.core.errors import UpstreamInvalid, UpstreamRefused
from relay.upstream.http import BodyLimits, HttpClient, HttpOptions, HttpReply
from relay.upstream.provider import UpstreamAnswer, UpstreamOffer

LIMITS: Final = BodyLimits(ok=256 * 1024, error=64 * 1024)
PASSED_HEADERS: Final = ("OpenAI-Safety-Identifier", "OpenAI-Organization", "OpenAI-Project")

_CALL_ID: Final = re.compile(r"[A-Za-z0-9_.~-]{1,256}")
_KEY_IN_TEXT: Final = re.compile(rb"\b(sk|ek)[-_][A-Za-z0-9_*.-]{4,}")


@dataclass(frozen=True, slots=True)
class OpenAIOptions:
    """`url` is the API's base, `https://api.openai.com/v1`; `api_key` the server's."""

    api_key: str = field(repr=False)
    http: HttpOptions = field(default_factory=lambda: HttpOptions("https://api.openai.com/v1"))


class OpenAIUpstream:
    """An `Upstream`. Build it in a running loop; `close()` ends its connections and its warming."""

    def __init__(self, options: OpenAIOptions) -> None:
        self._api_key = options.api_key
        self._calls = URL(options.http.url) / "realtime" / "calls"
        self._http = HttpClient(options.http)

    async def open_call(self, offer: UpstreamOffer, *, timeout_s: float) -> UpstreamAnswer:
        """See `Upstream`. `elapsed_s` is the whole exchange, a connection's set-up included."""
        started = time.perf_counter()
        headers = {
            **_passed(offer.headers),
            "Authorization": f"Bearer {offer.credential or self._api_key}",
            "Accept": "application/sdp",
        }
        if offer.credential is None or offer.session is not None:
            reply = await self._http.exchange(
                self._calls,
                headers=headers,
                body=lambda: _form(offer),
                limits=LIMITS,
                timeout_s=timeout_s,
            )
        else:
            query = {} if offer.model is None else {"model": offer.model}
            reply = await self._http.exchange(
                self._calls.with_query(query),
                headers={**headers, "Content-Type": "application/sdp"},
                body=offer.sdp.encode,
                limits=LIMITS,
                timeout_s=timeout_s,
            )
        self._raise_for_status(reply)
        call_id = call_id_of(reply.headers.get("Location"))
        return UpstreamAnswer(_sdp_of(reply), call_id, time.perf_counter() - started)

    async def hang_up(
        self, call_id: str, *, credential: str | None = None, timeout_s: float
    ) -> None:
        """See `Upstream`."""
        reply = await self._http.exchange(
            self._calls / call_id / "hangup",
            headers={"Authorization": f"Bearer {credential or self._api_key}"},
            body=lambda: None,
            limits=LIMITS,
            timeout_s=timeout_s,
        )
        if reply.status not in (404, 410):
            self._raise_for_status(reply)

    async def close(self) -> None:
        await self._http.close()

    def _raise_for_status(self, reply: HttpReply) -> None:
        if 200 <= reply.status < 300:
            return
        if reply.status < 400:
            # A 3xx passed on would send the browser, and its credential, somewhere else.
            raise UpstreamInvalid(
                f"The upstream redirects (status {reply.status}): "
                "set upstream.url to the address it redirects to."
            )
        raise UpstreamRefused(
            reply.status,
            _without_keys(reply.body, self._api_key),
            reply.headers.get("Content-Type", "application/octet-stream"),
            reply.headers.get("Retry-After"),
        )


def call_id_of(location: str | None) -> str | None:
    """The call's id in `Location`: its last segment, or `call_id` of its query, as Azure has it.

    None where there is no id that may stand in a path.
    """
    if location is None:
        return None
    try:
        parts = urlsplit(location)
    except ValueError:
        return None
    named = parse_qs(parts.query).get("call_id")
    call_id = named[0] if named else parts.path.rstrip("/").rpartition("/")[2]
    if call_id in ("calls", ".", "..") or _CALL_ID.fullmatch(call_id) is None:
        return None
    return call_id


def _form(offer: UpstreamOffer) -> aiohttp.FormData:
    form = aiohttp.FormData(default_to_multipart=True)
    form.add_field("sdp", offer.sdp, content_type="application/sdp")
    session = json.dumps(_session(offer), ensure_ascii=False)
    form.add_field("session", session, content_type="application/json")
    return form


def _session(offer: UpstreamOffer) -> dict[str, Any]:
    session = {"type": "realtime", **(offer.session or {})}
    if offer.model is not None:
        session.setdefault("model", offer.model)
    return session


def _passed(headers: Mapping[str, str]) -> dict[str, str]:
    given = {name.lower(): value for name, value in headers.items()}
    return {name: given[name.lower()] for name in PASSED_HEADERS if name.lower() in given}


def _sdp_of(reply: HttpReply) -> str:
    if reply.truncated:
        raise UpstreamInvalid(f"The upstream's answer is larger than {LIMITS.ok} bytes.")
    if not reply.body.startswith(b"v=0"):
        raise UpstreamInvalid("The upstream's answer is not SDP: check that upstream.url is right.")
    try:
        return reply.body.decode()
    except UnicodeDecodeError as error:
        raise UpstreamInvalid("The upstream's answer is not UTF-8.") from error


def _without_keys(body: bytes, api_key: str) -> bytes:
    """OpenAI's 401 repeats the key, masked in its middle; a client shall not see even that."""
    if api_key:
        body = body.replace(api_key.encode(), b"***")
    return _KEY_IN_TEXT.sub(rb"\1-***", body)
