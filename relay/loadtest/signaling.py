"""The HTTP side of a load call: one POST that opens it, one DELETE that hangs it up."""

from __future__ import annotations

import time
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

import aiohttp

TIMEOUT_S = 20.0
_CALLS_PATH = "/v1/realtime/calls"


class CallFailed(Exception):
    """A call that did not come about. `reason` is a short word to count by."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer to an offer. `location` is absolute; None where the server named none."""

    sdp: str
    location: str | None
    elapsed_ms: float


def calls_url(url: str) -> str:
    """Where to post offers: a server's address, an API base (`…/v1`) or the full path will do.

    Raises ValueError on what is no http or https URL.
    """
    parts = urlsplit(url if "//" in url else f"http://{url}")
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(f"{url} is not an http:// or https:// URL")
    path = parts.path.rstrip("/")
    if not path:
        path = _CALLS_PATH
    elif path.endswith("/v1"):
        path += _CALLS_PATH.removeprefix("/v1")
    return parts._replace(path=path).geturl()


class Signaling:
    """Posts offers to one server over kept-alive connections. Close it when the load is over."""

    def __init__(self, url: str, api_key: str | None = None) -> None:
        self._url = calls_url(url)
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._http = aiohttp.ClientSession(
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
            connector=aiohttp.TCPConnector(limit=0),
        )

    async def post(self, offer: str) -> Answered:
        """Raises CallFailed with the status, or with what kept the request from being answered."""
        started_ns = time.monotonic_ns()
        headers = {"Content-Type": "application/sdp"}
        try:
            async with self._http.post(self._url, data=offer, headers=headers) as response:
                body = await response.text()
                elapsed_ms = (time.monotonic_ns() - started_ns) / 1e6
                if response.status not in {200, 201}:
                    raise CallFailed(f"status_{response.status}", body[:200])
                location = response.headers.get("Location")
        except (aiohttp.ClientError, TimeoutError) as error:
            raise CallFailed("no_answer", str(error) or type(error).__name__) from error
        return Answered(body, urljoin(self._url, location) if location else None, elapsed_ms)

    async def hang_up(self, location: str) -> bool:
        """Whether the server took it; a call that is gone already is no error."""
        try:
            async with self._http.delete(location) as response:
                return response.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False

    async def close(self) -> None:
        await self._http.close()
