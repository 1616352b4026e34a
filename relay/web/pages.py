"""The demo page, `relay.js` and what they load: read once, served from memory, strict policy."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aiohttp import web

STATIC: Final = Path(__file__).parent / "static"

# What is not listed here is not served: the folder holds the script that makes the samples, too.
TYPES: Final[Mapping[str, str]] = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".woff2": "font/woff2",
    ".ogg": "audio/ogg",
    ".opus": "audio/ogg",
}

_POLICY: Final = "; ".join(
    (
        "default-src 'self'",
        "connect-src 'self'",
        "media-src 'self' blob:",
        "img-src 'self' data:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
_HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": _POLICY,
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "microphone=(self), camera=(self), geolocation=()",
    "Cache-Control": "no-cache",  # asks again each time, and mostly gets 304
}


@dataclass(frozen=True, slots=True)
class Asset:
    """A file as it is served."""

    content: bytes
    content_type: str
    etag: str


class PageRoutes:
    """Serves `/`, `/relay.js` and `/static/…`; a name that was not there at the start is a 404."""

    def __init__(self, assets: Mapping[str, Asset]) -> None:
        self._assets = assets

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/", self.index),
            web.get("/relay.js", self.helper),
            web.get("/static/{name}", self.asset),
        ]

    async def index(self, request: web.Request) -> web.Response:
        return self._serve(request, "index.html")

    async def helper(self, request: web.Request) -> web.Response:
        return self._serve(request, "relay.js")

    async def asset(self, request: web.Request) -> web.Response:
        return self._serve(request, request.match_info["name"])

    def _serve(self, request: web.Request, name: str) -> web.Response:
        asset = self._assets.get(name)
        if asset is None:
            raise web.HTTPNotFound
        headers = {**_HEADERS, "ETag": f'"{asset.etag}"'}
        if any(tag.value in (asset.etag, "*") for tag in request.if_none_match or ()):
            return web.Response(status=304, headers=headers)
        return web.Response(
            body=asset.content, headers={**headers, "Content-Type": asset.content_type}
        )


def load_assets(folder: Path = STATIC) -> dict[str, Asset]:
    """The files of `folder` by their names. Blocks; call it before the loop runs."""
    return {
        path.name: load_asset(path)
        for path in sorted(folder.iterdir())
        if path.is_file() and path.suffix in TYPES
    }


def load_asset(path: Path) -> Asset:
    """One file. Blocks."""
    content = path.read_bytes()
    return Asset(content, TYPES[path.suffix], hashlib.sha256(content).hexdigest()[:16])
