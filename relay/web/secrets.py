"""`client_secrets` and its older names: mints the `ek_` tokens that browsers call with."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web

from relay.core.beta import ga_session
from relay.core.errors import Forbidden, InvalidRequest, UnsupportedMediaType
from relay.core.principal import Principal
from relay.core.session_config import SessionRules, session_for, without
from relay.policy.tokens import DEFAULT_LIFE_S, MAX_LIFE_S, MIN_LIFE_S, Grant, TokenMint
from relay.web.bodies import BodyLimits, parse_json_object, read_body
from relay.web.door import Door

SAFETY_HEADER: Final = "OpenAI-Safety-Identifier"
MAX_SAFETY_IDENTIFIER: Final = 512


@dataclass(frozen=True, slots=True)
class _Wish:
    """A request for a token: the session in GA shape, its life, the origin it is bound to."""

    session: dict[str, Any]
    life_s: int = DEFAULT_LIFE_S
    origin: str | None = None


class SecretRoutes:
    """The handlers of tokens."""

    def __init__(
        self, door: Door, mint: TokenMint, rules: SessionRules, limits: BodyLimits
    ) -> None:
        self._door = door
        self._mint = mint
        self._rules = rules
        self._limits = limits

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/v1/realtime/client_secrets", self.create),
            web.post("/v1/realtime/sessions", self.create_beta),
            web.get("/session", self.create_default, allow_head=False),
        ]

    async def create(self, request: web.Request) -> web.Response:
        principal = self._minter(request)
        body = await self._read(request)
        wish = _Wish(
            session=self._ga(_object(body, "session")),
            life_s=_life_of(body),
            origin=_origin_of(body),
        )
        return self._token(request, principal, wish)

    async def create_beta(self, request: web.Request) -> web.Response:
        """The beta's path: the body is the session itself, and its life stands within it."""
        principal = self._minter(request)
        body = await self._read(request)
        wish = _Wish(session=self._ga(body), life_s=_life_of(_object(body, "client_secret")))
        return self._token(request, principal, wish)

    async def create_default(self, request: web.Request) -> web.Response:
        """The path of the seed article's own server, which is asked for nothing in particular."""
        return self._token(request, self._minter(request), _Wish(session={}))

    def _minter(self, request: web.Request) -> Principal:
        principal = self._door.identify(request)
        if principal.kind in ("token", "passthrough"):
            raise Forbidden("A token cannot get another token; use a relay key.")
        return principal

    async def _read(self, request: web.Request) -> dict[str, Any]:
        data = await read_body(request, self._limits)
        if not data:
            return {}
        if request.content_type != "application/json":
            raise UnsupportedMediaType("The body should be application/json.")
        return parse_json_object(data, name="body")

    def _ga(self, session: Mapping[str, Any]) -> dict[str, Any]:
        return ga_session(session, current_model=self._rules.model)

    def _token(self, request: web.Request, principal: Principal, wish: _Wish) -> web.Response:
        # A key's holder is the operator's own backend; an anonymous minter is just a client.
        locked = self._rules.locked if principal.kind == "anonymous" else ()
        session = without(wish.session, locked)
        effective = session_for(self._rules, token=session)
        now = time.time()
        grant = Grant(
            owner=principal.owner,
            expires_at=int(now) + wish.life_s,
            key_id=principal.key_id,
            session=session,
            origin=wish.origin,
            safety_identifier=_safety_identifier_of(request),
        )
        secret = {"value": self._mint.mint(grant, now), "expires_at": grant.expires_at}
        return web.json_response(
            {**secret, "session": _described(effective), "client_secret": secret},
            headers={"Cache-Control": "no-store"},
        )


def _described(session: Mapping[str, Any]) -> dict[str, Any]:
    # OpenAI's keys for a session that no call has begun yet.
    return {
        "object": "realtime.session",
        "id": f"sess_{secrets.token_urlsafe(16)}",
        "expires_at": 0,
        **session,
    }


def _object(body: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = body.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidRequest(f"{name} should be a JSON object.", param=name)
    return value


def _life_of(body: Mapping[str, Any]) -> int:
    expires_after = _object(body, "expires_after")
    if expires_after.get("anchor", "created_at") != "created_at":
        raise InvalidRequest("The anchor should be created_at.", param="expires_after.anchor")
    seconds = expires_after.get("seconds", DEFAULT_LIFE_S)
    if type(seconds) is not int or not MIN_LIFE_S <= seconds <= MAX_LIFE_S:
        raise InvalidRequest(
            f"A token lives {MIN_LIFE_S} to {MAX_LIFE_S} whole seconds.",
            param="expires_after.seconds",
        )
    return seconds


def _origin_of(body: Mapping[str, Any]) -> str | None:
    origin = body.get("origin")
    if origin is None or (isinstance(origin, str) and origin.startswith(("https://", "http://"))):
        return origin
    raise InvalidRequest("origin should be a web origin, https://…", param="origin")


def _safety_identifier_of(request: web.Request) -> str | None:
    identifier = request.headers.get(SAFETY_HEADER)
    if identifier is None or (identifier.isascii() and len(identifier) <= MAX_SAFETY_IDENTIFIER):
        return identifier
    raise InvalidRequest(
        f"{SAFETY_HEADER} should be at most {MAX_SAFETY_IDENTIFIER} ASCII characters.",
        param=SAFETY_HEADER,
    )
