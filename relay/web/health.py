"""`/healthz`, `/readyz` and `/metrics`, for those who run the relay."""

from __future__ import annotations

import hmac
from collections.abc import Callable

from aiohttp import web

from relay.core.errors import Unauthenticated
from relay.telemetry.metrics import Metrics


class HealthRoutes:
    """`why_not_ready` says why no call should be sent here now, None if it may.

    `token`, where there is one, is the operator's: `/metrics` asks for it.
    """

    def __init__(
        self, metrics: Metrics, why_not_ready: Callable[[], str | None], token: str | None
    ) -> None:
        self._metrics = metrics
        self._why_not_ready = why_not_ready
        self._authorization = None if token is None else f"Bearer {token}".encode()

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/healthz", self.healthz),
            web.get("/readyz", self.readyz),
            web.get("/metrics", self.metrics),
        ]

    async def healthz(self, _request: web.Request) -> web.Response:
        """That this is answered is the answer."""
        return web.json_response({"status": "ok"})

    async def readyz(self, _request: web.Request) -> web.Response:
        reason = self._why_not_ready()
        if reason is None:
            return web.json_response({"status": "ready"})
        return web.json_response({"status": "not_ready", "reason": reason}, status=503)

    async def metrics(self, request: web.Request) -> web.Response:
        given = request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
        if self._authorization is not None and not hmac.compare_digest(given, self._authorization):
            raise Unauthenticated("The operator's token (admin.token) is needed.")
        body, content_type = self._metrics.render()
        return web.Response(body=body, headers={"Content-Type": content_type})
