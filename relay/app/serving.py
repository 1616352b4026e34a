"""The server as a whole: built from the settings, started and stopped in order."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import structlog
from aiohttp import web

from relay.app.errors import CannotStart
from relay.app.observation import observing, prices_of
from relay.app.options import (
    authenticator,
    ice_options,
    revealed,
    session_options,
    session_rules,
    token_mint,
    turn_context,
    upstream_options,
)
from relay.app.reach import advertised, reach_problems
from relay.app.turn import Turn, turn_for
from relay.core.pricing import PriceTable
from relay.policy.admission import Admission, Limits
from relay.policy.iceservers import IceServerList
from relay.rtc import CertificateStore, Sockets
from relay.session.calls import Calls
from relay.session.listeners import Listeners as CallListeners
from relay.session.meters import Meters
from relay.settings import HttpSettings, Settings
from relay.telemetry.metrics import Metrics
from relay.upstream.openai import OpenAIUpstream
from relay.web.admin import admin_routes
from relay.web.admin_gate import AdminGate
from relay.web.admin_login import LoginRoutes
from relay.web.assets import Asset
from relay.web.bodies import BodyLimits
from relay.web.calls import CallRoutes
from relay.web.cors import Cors
from relay.web.dashboard import DashboardRoutes, load_dashboard
from relay.web.door import Door
from relay.web.health import HealthRoutes
from relay.web.iceservers import IceServerRoutes
from relay.web.operator import Operator
from relay.web.pages import PageRoutes, load_assets
from relay.web.secrets import SecretRoutes
from relay.web.server import Listener, create_application, listen
from relay.web.trickle import TrickleRoutes

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Prepared:
    """What is read from files before the loop runs, for reading blocks."""

    settings: Settings
    assets: Mapping[str, Asset]
    tls: ssl.SSLContext | None
    turn_ca: ssl.SSLContext | None = None
    prices: PriceTable | None = None
    dashboard: Mapping[str, Asset] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Server:
    """A server that takes calls. `url` is what a person opens."""

    url: str
    port: int


def prepare(settings: Settings) -> Prepared:
    """Raises CannotStart for a missing upstream key, or a certificate that cannot be used."""
    upstream = settings.upstream
    if upstream.provider != "simulator" and upstream.api_key is None:
        raise CannotStart(
            "There is no upstream key: set OPENAI_API_KEY, or run `relay demo`, which needs none."
        )
    return Prepared(
        settings,
        load_assets(),
        _tls(settings.http),
        _turn_ca(settings),
        prices_of(settings),
        load_dashboard(),
    )


@asynccontextmanager
async def serving(prepared: Prepared) -> AsyncIterator[Server]:
    """Takes calls within the block. At its end, new calls are refused, live ones hung up, and then
    everything is closed, each step in bounded time. Raises CannotStart.
    """
    settings = prepared.settings
    async with AsyncExitStack() as stack:
        sockets = _open_sockets(prepared)
        stack.callback(sockets.close)
        turn = await stack.enter_async_context(turn_for(settings, sockets))
        upstream = OpenAIUpstream(upstream_options(settings))
        stack.push_async_callback(upstream.close)
        metrics = Metrics()
        certificates = CertificateStore()
        certificates.current()  # made now, so that the first call does not wait for it
        prices = prepared.prices or PriceTable(())
        observed = await stack.enter_async_context(observing(settings, prices, metrics))
        options = session_options(settings)
        watchers = [observed.observer.watch]
        calls = Calls(upstream, sockets, certificates, options, metrics, watchers)
        metrics.watch(calls)
        await stack.enter_async_context(observed.sampling(calls))
        listeners = CallListeners(calls, sockets, certificates)
        meters = Meters(calls)
        admission = admission_for(settings, calls.live_count)
        application = web_application(
            settings,
            calls=calls,
            admission=admission,
            metrics=metrics,
            servers=turn.servers,
            assets=prepared.assets,
            why_not_ready=lambda: (
                _why_not_ready(admission, sockets, turn) or observed.observer.why_not_ready()
            ),
            operator=Operator(
                calls,
                observed.observer,
                observed.store,
                listeners,
                meters,
                drain=admission.drain,
                is_draining=lambda: admission.draining,
            ),
            dashboard=prepared.dashboard,
        )
        port = await _listen(stack, application, prepared)
        stack.push_async_callback(calls.close)
        stack.push_async_callback(listeners.close_all)
        stack.push_async_callback(meters.close)
        stack.callback(admission.drain)  # the first step down, for the stack is undone from its top
        url = settings.http.public_url or _url(settings.http, port)
        log.info("server.started", url=url, **_start_facts(settings, sockets, turn))
        for problem in reach_problems(settings, sockets.candidates):
            log.warning("server.out_of_reach", problem=problem)
        yield Server(url, port)
        log.info("server.stopping", calls=calls.live_count())


async def _listen(stack: AsyncExitStack, application: web.Application, prepared: Prepared) -> int:
    http = prepared.settings.http
    try:
        runner, port = await listen(application, Listener(http.host, http.port, prepared.tls))
    except OSError as error:
        where = f"{http.host} port {http.port}"
        raise CannotStart(
            f"The server cannot listen on {where}, set http.host or http.port: "
            f"{error.strerror or error}"
        ) from None
    stack.push_async_callback(runner.cleanup)
    return port


def web_application(
    settings: Settings,
    *,
    calls: Calls,
    admission: Admission,
    metrics: Metrics,
    servers: IceServerList,
    assets: Mapping[str, Asset],
    why_not_ready: Callable[[], str | None],
    operator: Operator,
    dashboard: Mapping[str, Asset] | None = None,
) -> web.Application:
    """The HTTP surface over `calls`."""
    mint = token_mint(settings)
    cors = Cors(settings.http.cors_origins)
    door = Door(cors, authenticator(settings, mint), admission, settings.http.trusted_proxies)
    rules = session_rules(settings)
    limits = BodyLimits(settings.http.max_body_bytes, settings.http.body_timeout_s)
    token = revealed(settings.admin.token)
    gate = AdminGate(token, settings.http.trusted_proxies)
    routes = [
        *CallRoutes(door, calls, servers, rules, limits).routes(),
        *TrickleRoutes(door, calls, servers, limits).routes(),
        *IceServerRoutes(door, servers).routes(),
        *SecretRoutes(door, mint, rules, limits).routes(),
        *HealthRoutes(metrics, why_not_ready, token).routes(),
        *PageRoutes(assets).routes(),
        *admin_routes(operator, gate, limits),
        *LoginRoutes(gate, limits, is_secure=_is_secure(settings.http)).routes(),
        *DashboardRoutes(dashboard or {}).routes(),
    ]
    return create_application(routes, cors=cors, metrics=metrics, max_body_bytes=limits.max_bytes)


def _is_secure(http: HttpSettings) -> bool:
    public_url = http.public_url or ""
    return http.tls_cert is not None or str(public_url).startswith("https:")


def admission_for(settings: Settings, live_count: Callable[[], int]) -> Admission:
    limits = Limits(
        max_sessions=settings.session.max_sessions,
        calls_per_minute=settings.policy.calls_per_minute,
        calls_per_minute_per_address=settings.policy.calls_per_minute_per_address,
    )
    return Admission(limits, live_count)


# --- what is opened ---


def _open_sockets(prepared: Prepared) -> Sockets:
    sockets = Sockets(ice_options(prepared.settings, prepared.turn_ca))
    try:
        sockets.open()
    except OSError as error:
        raise CannotStart(
            f"The media port cannot be opened, set ice.udp_port, ice.tcp_port or ice.bind: "
            f"{error.strerror or error}"
        ) from None
    return sockets


def _turn_ca(settings: Settings) -> ssl.SSLContext | None:
    try:
        return turn_context(settings)
    except OSError as error:  # SSLError is one
        raise CannotStart(f"ice.ca_bundle cannot be used: {error.strerror or error}") from None


def _tls(http: HttpSettings) -> ssl.SSLContext | None:
    if http.tls_cert is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(http.tls_cert, http.tls_key)
    except OSError as error:  # SSLError is one
        raise CannotStart(
            f"http.tls_cert and http.tls_key cannot be used: {error.strerror or error}"
        ) from None
    return context


# --- what is told ---


def _why_not_ready(admission: Admission, sockets: Sockets, turn: Turn) -> str | None:
    if admission.draining:
        return "The server is shutting down."
    if turn.is_down:
        return "The managed TURN server is down."
    if not sockets.candidates and sockets.options.client_policy == "all":
        return "There is no address that a browser could reach."
    return None


def _url(http: HttpSettings, port: int) -> str:
    host = "localhost" if http.host in ("", "0.0.0.0", "::") else http.host  # noqa: S104
    scheme = "http" if http.tls_cert is None else "https"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"


def _start_facts(settings: Settings, sockets: Sockets, turn: Turn) -> dict[str, object]:
    facts: dict[str, object] = {
        "upstream": settings.upstream.url,
        "auth": settings.auth.mode,
        "media": advertised(sockets.candidates),
    }
    return facts | ({"turn": list(turn.urls)} if turn.urls else {})
