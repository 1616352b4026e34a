"""`/admin/v1/login`: a browser shows the operator's token once, and has a cookie from then on."""

from __future__ import annotations

import time
from typing import Final

import structlog
from aiohttp import web

from relay.core.errors import InvalidRequest, RateLimited, Unauthenticated
from relay.policy.admission import RateLimiter
from relay.web.admin_gate import COOKIE, SIGNED_IN_S, AdminGate, refuse_foreign_pages
from relay.web.bodies import BodyLimits, parse_json_object, read_body

TRIES_A_MINUTE: Final = 10
"""Of one address."""

PATH: Final = "/admin"

log = structlog.get_logger(__name__)


class LoginRoutes:
    """`is_secure`: browsers reach the server by https alone, and the cookie is for nothing else."""

    def __init__(self, gate: AdminGate, limits: BodyLimits, *, is_secure: bool) -> None:
        self._gate = gate
        self._limits = limits
        self._is_secure = is_secure
        self._tries = RateLimiter(TRIES_A_MINUTE)

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/admin/v1/login", self.sign_in),
            web.delete("/admin/v1/login", self.sign_out),
        ]

    async def sign_in(self, request: web.Request) -> web.Response:
        """204 and the cookie, for who knows the token."""
        refuse_foreign_pages(request)
        who = self._gate.who(request)
        retry_after_s = self._tries.take(who, time.monotonic())
        if retry_after_s:
            raise RateLimited("That were too many tries.", retry_after_s=retry_after_s)
        body = parse_json_object(await read_body(request, self._limits), name="body")
        token = body.get("token")
        if not isinstance(token, str):
            raise InvalidRequest('The body is {"token": …}.', param="token")
        try:
            cookie = self._gate.sign_in(token)
        except Unauthenticated:
            log.warning("admin.sign_in_refused", by=who)
            raise
        response = web.Response(status=204)
        if cookie is not None:
            self._set_cookie(response, cookie, SIGNED_IN_S)
            log.info("admin.signed_in", by=who)
        return response

    async def sign_out(self, request: web.Request) -> web.Response:
        """204; the browser forgets the cookie."""
        refuse_foreign_pages(request)
        response = web.Response(status=204)
        self._set_cookie(response, "", 0)
        return response

    def _set_cookie(self, response: web.Response, value: str, max_age_s: int) -> None:
        response.set_cookie(
            COOKIE,
            value,
            max_age=max_age_s,
            path=PATH,
            secure=self._is_secure,
            httponly=True,
            samesite="Strict",
        )
