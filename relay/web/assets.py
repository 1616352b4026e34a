"""Files that are read once and served from memory: the pages' and the dashboard's."""

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


@dataclass(frozen=True, slots=True)
class Asset:
    """A file as it is served."""

    content: bytes
    content_type: str
    etag: str


def serve(
    request: web.Request, assets: Mapping[str, Asset], name: str, headers: Mapping[str, str]
) -> web.Response:
    """The asset with `headers`, or 304 where the client has it. Raises HTTPNotFound."""
    asset = assets.get(name)
    if asset is None:
        raise web.HTTPNotFound
    tagged = {**headers, "ETag": f'"{asset.etag}"'}
    if any(tag.value in (asset.etag, "*") for tag in request.if_none_match or ()):
        return web.Response(status=304, headers=tagged)
    return web.Response(body=asset.content, headers={**tagged, "Content-Type": asset.content_type})


def load_asset(path: Path) -> Asset:
    """One file. Blocks."""
    content = path.read_bytes()
    return Asset(content, TYPES[path.suffix], hashlib.sha256(content).hexdigest()[:16])
