"""`/v1/realtime/calls` and its older names: an offer in, an answer out, and the end of a call."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web

from relay.core.beta import ga_model, ga_session
from relay.core.errors import InvalidOffer, InvalidRequest, UnsupportedMediaType
from relay.core.principal import Principal
from relay.core.sdpfrag import MEDIA_TYPE
from relay.core.session_config import SessionRules, session_for
from relay.policy.iceservers import IceServerList
from relay.session.call import Call
from relay.session.calls import Calls
from relay.session.model import CallRequest
from relay.web.bodies import BodyLimits, parse_json_object, read_body
from relay.web.door import Door
from relay.web.formdata import Part, parse_form
from relay.web.iceservers import ice_server_links

CALLS_PATH: Final = "/v1/realtime/calls"

_SAFETY_HEADER: Final = "OpenAI-Safety-Identifier"
# Whose project pays is the server's business, unless the client brings its own credential.
_ACCOUNT_HEADERS: Final = ("OpenAI-Organization", "OpenAI-Project")


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A request's body: the offer as it came, and the client's session in GA shape, if any."""

    offer: str
    session: dict[str, Any] | None


class CallRoutes:
    """The handlers of calls."""

    def __init__(
        self,
        door: Door,
        calls: Calls,
        servers: IceServerList,
        rules: SessionRules,
        limits: BodyLimits,
    ) -> None:
        self._door = door
        self._calls = calls
        self._servers = servers
        self._rules = rules
        self._limits = limits

    def routes(self) -> list[web.RouteDef]:
        one = CALLS_PATH + "/{call_id}"
        return [
            web.post(CALLS_PATH, self.create),
            web.post("/v1/realtime", self.create),
            web.post("/session", self.create),
            web.post(f"{one}/hangup", self.hang_up),
            web.delete(one, self.hang_up),
        ]

    async def create(self, request: web.Request) -> web.Response:
        """Opens a call: authentication, admission, parse, upstream, for each costs more."""
        principal = self._door.admit_call(request)
        dcid = _dcid_of(request)
        wanted = await self._read(request)
        model, session = self._session(principal, request.query.get("model"), wanted.session)
        call = await self._calls.create(
            CallRequest(
                offer=wanted.offer,
                principal=principal,
                model=model,
                session=session,
                dcid=dcid,
                headers=_headers_for_upstream(request, principal),
            )
        )
        return self._answer(call)

    def _answer(self, call: Call) -> web.Response:
        response = web.Response(
            status=201,
            body=call.answer.encode(),
            headers={
                "Content-Type": "application/sdp",
                "Location": f"{CALLS_PATH}/{call.id}",
                "ETag": f'"{call.ice.etag}"',
                "Accept-Patch": MEDIA_TYPE,
            },
        )
        for link in ice_server_links(self._servers, call.id):
            response.headers.add("Link", link)
        return response

    async def hang_up(self, request: web.Request) -> web.Response:
        principal = self._door.identify_owner(request)
        call = self._calls.find(request.match_info["call_id"], principal)
        await self._calls.hang_up(call, "client")
        return web.Response(status=200)

    async def _read(self, request: web.Request) -> _Wanted:
        match request.content_type:
            case "application/sdp":
                body = await read_body(request, self._limits)
                return _Wanted(_offer_from(body), None)
            case "multipart/form-data":
                body = await read_body(request, self._limits)
                return self._from_form(parse_form(body, request.headers["Content-Type"]))
        raise UnsupportedMediaType(
            "The offer comes as application/sdp, or as multipart/form-data with a part `sdp`."
        )

    def _from_form(self, parts: Mapping[str, Part]) -> _Wanted:
        if "sdp" not in parts:
            raise InvalidRequest("The form has no part `sdp`.", param="sdp")
        session = None
        if "session" in parts:
            given = parse_json_object(
                _content(parts, "session", "application/json"), name="session"
            )
            session = ga_session(given, current_model=self._rules.model)
        return _Wanted(_offer_from(_content(parts, "sdp", "application/sdp")), session)

    def _session(
        self, principal: Principal, model: str | None, session: dict[str, Any] | None
    ) -> tuple[str | None, dict[str, Any] | None]:
        """The model and the session to call with."""
        model = ga_model(model, current=self._rules.model) if model else None
        if principal.upstream_credential is not None:
            # The upstream knows the session of its own token; ours would overrule it.
            return model, session
        merged = session_for(self._rules, token=principal.session, client=session, model=model)
        return merged.get("model"), merged


def _content(parts: Mapping[str, Part], name: str, content_type: str) -> bytes:
    """A part's bytes. Browsers' plain fields have no type; text/plain says as little."""
    part = parts[name]
    if part.content_type not in (None, content_type, "text/plain"):
        raise UnsupportedMediaType(f"The part `{name}` should be {content_type}.", param=name)
    return part.content


def _offer_from(data: bytes) -> str:
    # Never stripped: its last line break is part of it, and upstreams insist.
    if not data.strip():
        raise InvalidOffer("The offer is empty.", param="sdp")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise InvalidOffer("The offer is not UTF-8.", param="sdp") from None


def _dcid_of(request: web.Request) -> int | None:
    text = request.query.get("dcid")
    if text is None:
        return None
    if re.fullmatch(r"[0-9]{1,5}", text) is None:
        raise InvalidRequest("dcid should be a stream's number.", param="dcid")
    return int(text)  # which numbers there are, the calls know


def _headers_for_upstream(request: web.Request, principal: Principal) -> dict[str, str]:
    passing = _ACCOUNT_HEADERS if principal.upstream_credential is not None else ()
    headers = {
        name: request.headers[name]
        for name in (_SAFETY_HEADER, *passing)
        if name in request.headers
    }
    for name, value in headers.items():
        if not value.isascii():
            raise InvalidRequest(f"{name} should be ASCII.", param=name)
    if principal.safety_identifier is not None:
        headers[_SAFETY_HEADER] = principal.safety_identifier
    return headers
