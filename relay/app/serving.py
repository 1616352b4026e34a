"""The server as a whole: built from the settings, started and stopped in order."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import structlog
from aiohttp import web

from relay.app.errors import CannotStart
from relay.app.observation import observing, prices_of
from relay.app.options import (
    ice_options,
    session_options,
    turn_context,
    upstream_options,
)
from relay.app.reach import advertised, reach_problems
from relay.app.surface import admin_application, admission_for, web_application
from relay.app.turn import Turn, turn_for
from relay.core.pricing import PriceTable
from relay.policy.admission import Admission
from relay.rtc import CertificateStore, Sockets
from relay.session.calls import Calls
from relay.session.listeners import Listeners as CallListeners
from relay.session.meters import Meters
from relay.settings import HttpSettings, Settings
from relay.telemetry.metrics import Metrics
from relay.upstream.openai import OpenAIUpstream
from relay.web.assets import Asset
from relay.web.dashboard import load_dashboard
from relay.web.operator import Operator
from relay.web.pages import load_assets
from relay.web.server import Listener, listen

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
    """A server that takes calls. `url` is what a person opens, and `dashboard_url` its operator;
    `admin_port` is the operator's own, if there is one."""

    url: str
    dashboard_url: str
    port: int
    admin_port: int | None = None


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
        parts = await _build(stack, prepared)
        port, admin_port = await _open_doors(stack, parts, prepared)
        stack.push_async_callback(parts.calls.close)
        stack.push_async_callback(parts.operator.listeners.close_all)
        stack.push_async_callback(parts.operator.meters.close)
        # The first step down, for the stack is undone from its top:
        stack.callback(parts.admission.drain)
        http, admin = settings.http, settings.admin
        url = http.public_url or _url(prepared, http.host, port)
        admin_url = _url(prepared, admin.host or http.host, admin_port) if admin_port else url
        log.info("server.started", url=url, **_start_facts(settings, parts.sockets, parts.turn))
        for problem in reach_problems(settings, parts.sockets.candidates):
            log.warning("server.out_of_reach", problem=problem)
        yield Server(url, f"{admin_url.rstrip('/')}/admin/", port, admin_port)
        log.info("server.stopping", calls=parts.calls.live_count())


@dataclass(frozen=True, slots=True)
class _Parts:
    """What takes calls, behind its doors."""

    sockets: Sockets
    turn: Turn
    metrics: Metrics
    calls: Calls
    admission: Admission
    operator: Operator

    def why_not_ready(self) -> str | None:
        return (
            _why_not_ready(self.admission, self.sockets, self.turn)
            or self.operator.observer.why_not_ready()
        )


async def _build(stack: AsyncExitStack, prepared: Prepared) -> _Parts:
    settings = prepared.settings
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
    admission = admission_for(settings, calls.live_count)
    operator = Operator(
        calls,
        observed.observer,
        observed.store,
        CallListeners(calls, sockets, certificates),
        Meters(calls),
        drain=admission.drain,
        is_draining=lambda: admission.draining,
        renderer=observed.renderer,
    )
    return _Parts(sockets, turn, metrics, calls, admission, operator)


async def _open_doors(
    stack: AsyncExitStack, parts: _Parts, prepared: Prepared
) -> tuple[int, int | None]:
    """The port of everybody's listener, and of the operator's own, where one is wanted."""
    http, admin = prepared.settings.http, prepared.settings.admin
    application = web_application(
        prepared.settings,
        calls=parts.calls,
        admission=parts.admission,
        metrics=parts.metrics,
        servers=parts.turn.servers,
        assets=prepared.assets,
        why_not_ready=parts.why_not_ready,
        operator=parts.operator,
        dashboard=prepared.dashboard,
    )
    port = await _listen(stack, application, Listener(http.host, http.port, prepared.tls), "http")
    if admin.port is None:
        return port, None
    application = admin_application(
        prepared.settings, operator=parts.operator, dashboard=prepared.dashboard
    )
    listener = Listener(admin.host or http.host, admin.port, prepared.tls)
    return port, await _listen(stack, application, listener, "admin")


async def _listen(
    stack: AsyncExitStack, application: web.Application, listener: Listener, section: str
) -> int:
    try:
        runner, port = await listen(application, listener)
    except OSError as error:
        raise CannotStart(
            f"The server cannot listen on {listener.host} port {listener.port}, "
            f"set {section}.host or {section}.port: {error.strerror or error}"
        ) from None
    stack.push_async_callback(runner.cleanup)
    return port


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


def _url(prepared: Prepared, host: str, port: int) -> str:
    host = "localhost" if host in ("", "0.0.0.0", "::") else host  # noqa: S104
    scheme = "http" if prepared.tls is None else "https"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"


def _start_facts(settings: Settings, sockets: Sockets, turn: Turn) -> dict[str, object]:
    facts: dict[str, object] = {
        "upstream": settings.upstream.url,
        "auth": settings.auth.mode,
        "media": advertised(sockets.candidates),
    }
    return facts | ({"turn": list(turn.urls)} if turn.urls else {})
