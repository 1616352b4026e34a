"""The HTTP surfaces over a server's parts: what clients see, and what its operator does."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from aiohttp import web

from relay.app.options import authenticator, revealed, session_rules, token_mint
from relay.policy.admission import Admission, Limits
from relay.policy.iceservers import IceServerList
from relay.session.calls import Calls
from relay.settings import Settings
from relay.telemetry.metrics import Metrics
from relay.web.admin import admin_routes
from relay.web.admin_gate import AdminGate
from relay.web.admin_login import LoginRoutes
from relay.web.assets import Asset
from relay.web.bodies import BodyLimits
from relay.web.calls import CallRoutes
from relay.web.cors import Cors
from relay.web.dashboard import DashboardRoutes
from relay.web.door import Door
from relay.web.health import HealthRoutes
from relay.web.iceservers import IceServerRoutes
from relay.web.operator import Operator
from relay.web.pages import PageRoutes
from relay.web.secrets import SecretRoutes
from relay.web.server import create_application
from relay.web.trickle import TrickleRoutes


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
    """What clients see; and the operator's side, unless that has a listener of its own."""
    mint = token_mint(settings)
    cors = Cors(settings.http.cors_origins)
    door = Door(cors, authenticator(settings, mint), admission, settings.http.trusted_proxies)
    rules, limits = session_rules(settings), _limits(settings)
    routes = [
        *CallRoutes(door, calls, servers, rules, limits).routes(),
        *TrickleRoutes(door, calls, servers, limits).routes(),
        *IceServerRoutes(door, servers).routes(),
        *SecretRoutes(door, mint, rules, limits).routes(),
        *HealthRoutes(metrics, why_not_ready, revealed(settings.admin.token)).routes(),
        *PageRoutes(assets).routes(),
    ]
    if settings.admin.port is None:
        routes += _operator_routes(settings, operator, dashboard or {})
    return create_application(routes, cors=cors, metrics=metrics, max_body_bytes=limits.max_bytes)


def admin_application(
    settings: Settings, *, operator: Operator, dashboard: Mapping[str, Asset]
) -> web.Application:
    """The operator's side alone, for its own listener."""
    return create_application(
        _operator_routes(settings, operator, dashboard),
        cors=Cors(()),
        metrics=None,
        max_body_bytes=settings.http.max_body_bytes,
    )


def _operator_routes(
    settings: Settings, operator: Operator, dashboard: Mapping[str, Asset]
) -> list[web.RouteDef]:
    http, limits = settings.http, _limits(settings)
    gate = AdminGate(revealed(settings.admin.token), http.trusted_proxies)
    comes_by_proxy = settings.admin.port is None and str(http.public_url).startswith("https:")
    is_secure = http.tls_cert is not None or comes_by_proxy
    return [
        *admin_routes(operator, gate, limits),
        *LoginRoutes(gate, limits, is_secure=is_secure).routes(),
        *DashboardRoutes(dashboard).routes(),
    ]


def _limits(settings: Settings) -> BodyLimits:
    return BodyLimits(settings.http.max_body_bytes, settings.http.body_timeout_s)


def admission_for(settings: Settings, live_count: Callable[[], int]) -> Admission:
    limits = Limits(
        max_sessions=settings.session.max_sessions,
        calls_per_minute=settings.policy.calls_per_minute,
        calls_per_minute_per_address=settings.policy.calls_per_minute_per_address,
    )
    return Admission(limits, live_count)
