"""The composition root: builds every object from the settings, and names what nobody else does."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from aiohttp import web
from pydantic import SecretStr

from relay.core.session_config import SHORT_NAMES, SessionRules, path_of, put
from relay.policy.admission import Admission, Limits
from relay.policy.keys import KeyRing
from relay.policy.tokens import TokenMint
from relay.settings import AuthSettings, SessionSettings, Settings
from relay.telemetry.metrics import Metrics
from relay.web.auth import Authenticator
from relay.web.bodies import BodyLimits
from relay.web.calls import CallRoutes
from relay.web.cors import Cors
from relay.web.door import Door
from relay.web.health import HealthRoutes
from relay.web.pages import Asset, PageRoutes
from relay.web.ports import Calls
from relay.web.secrets import SecretRoutes
from relay.web.server import create_application


def web_application(
    settings: Settings,
    *,
    calls: Calls,
    admission: Admission,
    metrics: Metrics,
    assets: Mapping[str, Asset],
    why_not_ready: Callable[[], str | None],
) -> web.Application:
    """The HTTP surface over `calls`."""
    mint = _mint(settings.auth)
    cors = Cors(settings.http.cors_origins)
    door = Door(cors, _authenticator(settings.auth, mint), admission, settings.http.trusted_proxies)
    rules = _session_rules(settings)
    limits = BodyLimits(settings.http.max_body_bytes, settings.http.body_timeout_s)
    routes = [
        *CallRoutes(door, calls, rules, limits).routes(),
        *SecretRoutes(door, mint, rules, limits).routes(),
        *HealthRoutes(metrics, why_not_ready, _revealed(settings.admin.token)).routes(),
        *PageRoutes(assets).routes(),
    ]
    return create_application(routes, cors=cors, metrics=metrics, max_body_bytes=limits.max_bytes)


def admission_for(settings: Settings, live_count: Callable[[], int]) -> Admission:
    return Admission(
        Limits(
            max_sessions=settings.session.max_sessions,
            calls_per_minute=settings.policy.calls_per_minute,
            calls_per_minute_per_address=settings.policy.calls_per_minute_per_address,
        ),
        live_count,
    )


def _mint(auth: AuthSettings) -> TokenMint:
    return TokenMint(
        _revealed(auth.token_secret),
        [secret.get_secret_value() for secret in auth.old_token_secrets],
    )


def _revealed(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()


def _authenticator(auth: AuthSettings, mint: TokenMint) -> Authenticator:
    keys = KeyRing({key.id: key.hash for key in auth.keys})
    return Authenticator(auth.mode, keys, mint, passthrough=auth.passes_through)


def _session_rules(settings: Settings) -> SessionRules:
    return SessionRules(
        model=settings.upstream.model,
        defaults=_session_defaults(settings.session),
        locked=tuple(path_of(name) for name in settings.session.locked),
    )


def _session_defaults(session: SessionSettings) -> dict[str, object]:
    defaults: dict[str, object] = {}
    for name in ("instructions", "tools", *SHORT_NAMES):
        value = getattr(session, name)
        if value is not None:
            put(defaults, path_of(name), list(value) if isinstance(value, tuple) else value)
    return defaults
