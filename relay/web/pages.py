"""The demo page, `relay.js` and what they load: read once, served from memory, strict policy."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from aiohttp import web

from relay.web.assets import STATIC, TYPES, Asset, load_asset, serve

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
        return serve(request, self._assets, name, _HEADERS)


def load_assets(folder: Path = STATIC) -> dict[str, Asset]:
    """The files of `folder` by their names. Blocks; call it before the loop runs."""
    return {
        path.name: load_asset(path)
        for path in sorted(folder.iterdir())
        if path.is_file() and path.suffix in TYPES
    }
