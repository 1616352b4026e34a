"""`/admin/v1`: the operator's side. What is done here leaves a line in the log, with who did it."""

from __future__ import annotations

import asyncio
import json
import platform
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final, cast, get_args

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler

import relay
from relay.core.errors import InvalidOffer, InvalidRequest, StoreUnavailable, UnsupportedMediaType
from relay.core.ids import LegName
from relay.core.usagetotals import GroupBy, UsageRow
from relay.stores.conversation import State
from relay.stores.query import MAX_LIMIT, Page, Query
from relay.web.admin_events import EventRoutes
from relay.web.admin_files import FileRoutes
from relay.web.admin_gate import AdminGate
from relay.web.admin_json import live_row_of, row_of, says
from relay.web.admin_levels import LevelRoutes
from relay.web.admin_waveform import WaveformRoutes
from relay.web.bodies import BodyLimits, parse_json_object, read_body
from relay.web.numbers import whole_number
from relay.web.operator import Operator

ROOT: Final = "/admin/v1"
SESSION: Final = f"{ROOT}/sessions/{{session_id}}"
DEFAULT_LIMIT: Final = 50

Rows = list[dict[str, Any]]  # a class below has a method called list

log = structlog.get_logger(__name__)


def admin_routes(operator: Operator, gate: AdminGate, limits: BodyLimits) -> list[web.RouteDef]:
    """All routes, each behind the gate."""
    routes = [
        *SessionRoutes(operator, gate, limits).routes(),
        *EventRoutes(operator, gate).routes(SESSION),
        *FileRoutes(operator, gate).routes(SESSION),
        *WaveformRoutes(operator).routes(SESSION),
        *LevelRoutes(operator.meters).routes(ROOT),
        *ServerRoutes(operator, gate).routes(),
    ]
    return [_guarded(route, gate) for route in routes]


def _guarded(route: web.RouteDef, gate: AdminGate) -> web.RouteDef:
    handler = cast(Handler, route.handler)

    async def guarded(request: web.Request) -> web.StreamResponse:
        gate.check(request)
        response = await handler(request)
        if not response.prepared:
            response.headers.setdefault("Cache-Control", "no-store")
        return response

    return web.RouteDef(route.method, route.path, guarded, route.kwargs)


class SessionRoutes:
    """Calls, live and stored."""

    def __init__(self, operator: Operator, gate: AdminGate, limits: BodyLimits) -> None:
        self._operator = operator
        self._gate = gate
        self._limits = limits

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get(f"{ROOT}/sessions", self.list),
            web.get(SESSION, self.show),
            web.delete(SESSION, self.hang_up),
            web.delete(f"{ROOT}/recordings/{{session_id}}", self.delete),
            web.post(f"{SESSION}/events", self.inject),
            web.post(f"{SESSION}/listen", self.listen),
            web.delete(f"{SESSION}/listen/{{listener_id}}", self.stop_listening),
        ]

    async def list(self, request: web.Request) -> web.Response:
        """A page of sessions: on the first one live calls come before what is stored."""
        query, cursor = _query_of(request), request.query.get("cursor")
        live = self._operator.snapshots()
        rows = [] if cursor is not None else self._live_rows(query)
        page, problem = Page(()), None
        if query.state != "live":
            try:
                page = await self._operator.search(query, cursor, _limit_of(request))
            except StoreUnavailable as error:
                problem = error.message
        rows += [
            row_of(stored, page.hits.get(stored.id, ()))
            for stored in page.conversations
            if stored.id not in live
        ]
        return web.json_response({"sessions": rows, "cursor": page.cursor, "problem": problem})

    def _live_rows(self, query: Query) -> Rows:
        if query.state not in (None, "live") or query.outcome is not None:
            return []
        rows: Rows = []
        for call in self._operator.snapshots().values():
            watched = self._operator.watched(call.id)
            row = live_row_of(call, watched)
            wanted = (
                (query.model, row["model"]),
                (query.key_id, row["key_id"]),
                (query.owner, row["owner"]),
            )
            if (
                all(value in (None, found) for value, found in wanted)
                and (query.since is None or call.started_at >= query.since)
                and (query.until is None or call.started_at < query.until)
                and (query.q is None or says(watched, query.q))
            ):
                rows.append(row)
        return rows

    async def show(self, request: web.Request) -> web.Response:
        """All that is known of one session."""
        session_id = request.match_info["session_id"]
        call = self._operator.snapshots().get(session_id)
        if call is not None:
            return web.json_response(self._operator.live_json(call))
        return web.json_response(await self._operator.session(session_id))

    async def hang_up(self, request: web.Request) -> web.Response:
        call = self._operator.calls.live(request.match_info["session_id"])
        log.info("admin.hung_up", session_id=call.id, by=self._gate.who(request))
        await self._operator.calls.hang_up(call, "admin")
        return web.Response(status=204)

    async def delete(self, request: web.Request) -> web.Response:
        """A stored conversation, everywhere; the answer is the proof."""
        session_id, who = request.match_info["session_id"], self._gate.who(request)
        deletion = await self._operator.delete(session_id, f"admin at {who}")
        log.info("admin.deleted", session_id=session_id, by=who, complete=deletion.is_complete)
        return web.json_response(deletion.to_json(), status=200 if deletion.is_complete else 500)

    async def inject(self, request: web.Request) -> web.Response:
        """A client event of the operator's, for the upstream."""
        self._operator.calls.live(request.match_info["session_id"])  # before the body
        body = await read_body(request, self._limits)
        event = parse_json_object(body, name="event")
        if not isinstance(event.get("type"), str) or not event["type"]:
            raise InvalidRequest("An event has a `type`.", param="type")
        call = self._operator.calls.live(request.match_info["session_id"])
        call.inject(body.decode())
        kind = event["type"][:64]
        log.info("admin.injected", session_id=call.id, by=self._gate.who(request), type=kind)
        return web.json_response({"type": event["type"]}, status=202)

    async def listen(self, request: web.Request) -> web.Response:
        """WHEP (draft-ietf-wish-whep): a receive-only offer hears the call."""
        if request.content_type != "application/sdp":
            raise UnsupportedMediaType("The offer comes as application/sdp.")
        voice = request.query.get("voice", "upstream")
        if voice not in get_args(LegName):
            raise InvalidRequest("voice is client or upstream.", param="voice")
        session_id = request.match_info["session_id"]
        self._operator.calls.live(session_id)
        offer = _text_of(await read_body(request, self._limits))
        call = self._operator.calls.live(session_id)
        listeners = self._operator.listeners
        listener_id, answer = await listeners.open(call, offer, cast(LegName, voice))
        who = self._gate.who(request)
        log.info("admin.listened", session_id=call.id, by=who, listener=listener_id)
        location = f"{ROOT}/sessions/{call.id}/listen/{listener_id}"
        return web.Response(
            status=201,
            body=answer.encode(),
            headers={"Content-Type": "application/sdp", "Location": location},
        )

    async def stop_listening(self, request: web.Request) -> web.Response:
        found = request.match_info
        await self._operator.listeners.close(found["session_id"], found["listener_id"])
        return web.Response(status=204)


class ServerRoutes:
    """Usage, and the server itself."""

    def __init__(self, operator: Operator, gate: AdminGate) -> None:
        self._operator = operator
        self._gate = gate

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get(f"{ROOT}/usage", self.usage),
            web.post(f"{ROOT}/drain", self.drain),
            web.get(f"{ROOT}/nodes", self.nodes),
        ]

    async def usage(self, request: web.Request) -> web.Response:
        """Sums of stored conversations."""
        by = [name for name in request.query.get("by", "day").split(",") if name]
        if not set(by) <= set(get_args(GroupBy)):
            raise InvalidRequest("by is a list of day, key and model.", param="by")
        groups = [cast(GroupBy, name) for name in dict.fromkeys(by)]
        rows = await self._operator.usage(groups, _query_of(request))
        text = await asyncio.to_thread(usage_text, groups, rows)
        return web.Response(text=text, content_type="application/json")

    async def drain(self, request: web.Request) -> web.Response:
        """No more calls are taken; those that are go on."""
        self._operator.drain()
        log.info("admin.drained", by=self._gate.who(request))
        return web.json_response({"draining": True, "calls": self._operator.calls.live_count()})

    async def nodes(self, _request: web.Request) -> web.Response:
        """The processes that carry calls: this one."""
        node = {"id": platform.node(), "version": relay.__version__, **self._operator.status()}
        return web.json_response({"nodes": [node]})


def usage_text(by: Sequence[GroupBy], rows: Iterable[UsageRow]) -> str:
    """For a thread; JSON row by row: of thousands at once, the event loop would wait."""
    told = ",".join(json.dumps(row.to_json()) for row in rows)
    return f'{{"by": {json.dumps(by)}, "rows": [{told}]}}'


# --- what is asked for ---


def _query_of(request: web.Request) -> Query:
    found = request.query
    state = found.get("state") or None
    if state not in (None, *get_args(State)):
        raise InvalidRequest("state is live, ended or unfinished.", param="state")
    return Query(
        since=_time_of(request, "since"),
        until=_time_of(request, "until"),
        model=found.get("model") or None,
        key_id=found.get("key") or None,
        owner=found.get("owner") or None,
        outcome=found.get("outcome") or None,
        state=cast("State | None", state),
        q=found.get("q") or None,
    )


def _time_of(request: web.Request, name: str) -> datetime | None:
    text = request.query.get(name)
    if not text:
        return None
    try:
        at = datetime.fromisoformat(text)
        if at.tzinfo is not None:
            return at
    except ValueError:
        pass
    raise InvalidRequest(f"{name} is a time such as 2026-01-31T12:00:00Z.", param=name)


def _limit_of(request: web.Request) -> int:
    limit = whole_number(request.query.get("limit", str(DEFAULT_LIMIT)), max_digits=3)
    if limit is None or not 1 <= limit <= MAX_LIMIT:
        raise InvalidRequest(f"limit is a number from 1 to {MAX_LIMIT}.", param="limit")
    return limit


def _text_of(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise InvalidOffer("The offer is not UTF-8.", param="sdp") from None
