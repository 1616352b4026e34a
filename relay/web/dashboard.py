"""`/admin/`: the dashboard's files, read once, with a policy that lets nothing else run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from aiohttp import web

from relay.web.assets import STATIC, TYPES, Asset, load_asset, serve

DASHBOARD: Final = STATIC / "admin"

# wavesurfer.js writes this one style sheet into its shadow root (vendor/wavesurfer/README.md).
_WAVEFORM_STYLE: Final = "'sha256-GDz2FZP0i7VZaDhs1mgc43IRUXU2xajPIjvThHvZvbs='"

_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        f"style-src 'self' {_WAVEFORM_STYLE}",
        "img-src 'self' data: blob:",
        "font-src 'self'",
        "media-src 'self' blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
_HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": _POLICY,
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "microphone=(), camera=(), geolocation=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


class DashboardRoutes:
    """The pages ask for nothing themselves: what they show comes from `/admin/v1`, with a token."""

    def __init__(self, assets: Mapping[str, Asset]) -> None:
        self._assets = assets

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/admin", self.redirect),
            web.get("/admin/", self.index),
            web.get("/admin/{path:.+}", self.asset),
        ]

    async def redirect(self, _request: web.Request) -> web.Response:
        return web.Response(status=308, headers={"Location": "/admin/"})

    async def index(self, request: web.Request) -> web.Response:
        return self._serve(request, "index.html")

    async def asset(self, request: web.Request) -> web.Response:
        return self._serve(request, request.match_info["path"])

    def _serve(self, request: web.Request, name: str) -> web.Response:
        return serve(request, self._assets, name, _HEADERS)


def load_dashboard(folder: Path = DASHBOARD) -> dict[str, Asset]:
    """The files by their paths below `folder`; none where there is no such folder. Blocks."""
    return {
        path.relative_to(folder).as_posix(): load_asset(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix in TYPES
    }
