"""The composition root: builds every object from the settings, and names what nobody else does."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import structlog
from aiohttp import web
from pydantic import SecretStr

from relay.core.session_config import SHORT_NAMES, SessionRules, path_of, put
from relay.policy.admission import Admission, Limits
from relay.policy.keys import KeyRing
from relay.policy.tokens import TokenMint
from relay.rtc import CertificateStore, IceOptions, Sockets
from relay.session.calls import Calls
from relay.session.model import ChannelLimits, SessionOptions
from relay.settings import AuthSettings, HttpSettings, SessionSettings, Settings
from relay.telemetry.metrics import Metrics
from relay.upstream.http import HttpOptions
from relay.upstream.openai import OpenAIOptions, OpenAIUpstream
from relay.web.auth import Authenticator
from relay.web.bodies import BodyLimits
from relay.web.calls import CallRoutes
from relay.web.cors import Cors
from relay.web.door import Door
from relay.web.health import HealthRoutes
from relay.web.pages import Asset, PageRoutes, load_assets
from relay.web.secrets import SecretRoutes
from relay.web.server import Listener, create_application, listen

log = structlog.get_logger(__name__)

NO_KEY = "sk-simulator"
"""What the simulator is shown where the server has no key; it takes any that looks like one."""


class CannotStart(Exception):
    """The server cannot start as the settings want it; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """What is read from files before the loop runs, for reading blocks."""

    settings: Settings
    assets: Mapping[str, Asset]
    tls: ssl.SSLContext | None


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
    return Prepared(settings, load_assets(), _tls(settings.http))


@asynccontextmanager
async def serving(prepared: Prepared) -> AsyncIterator[Server]:
    """Takes calls within the block. At its end, new calls are refused, live ones hung up, and then
    everything is closed, each step in bounded time. Raises CannotStart.
    """
    settings = prepared.settings
    async with AsyncExitStack() as stack:
        sockets = _open_sockets(settings)
        stack.callback(sockets.close)
        upstream = OpenAIUpstream(_upstream_options(settings))
        stack.push_async_callback(upstream.close)
        metrics = Metrics()
        certificates = CertificateStore()
        certificates.current()  # made now, so that the first call does not wait for it
        calls = Calls(upstream, sockets, certificates, _session_options(settings), metrics)
        metrics.watch(calls)
        admission = admission_for(settings, calls.live_count)
        application = web_application(
            settings,
            calls=calls,
            admission=admission,
            metrics=metrics,
            assets=prepared.assets,
            why_not_ready=lambda: _why_not_ready(admission, sockets),
        )
        port = await _listen(stack, application, prepared)
        stack.push_async_callback(calls.close)
        stack.callback(admission.drain)  # the first step down, for the stack is undone from its top
        url = settings.http.public_url or _url(settings.http, port)
        log.info("server.started", url=url, **_start_facts(settings, sockets))
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
    limits = Limits(
        max_sessions=settings.session.max_sessions,
        calls_per_minute=settings.policy.calls_per_minute,
        calls_per_minute_per_address=settings.policy.calls_per_minute_per_address,
    )
    return Admission(limits, live_count)


# --- settings → options of the rooms ---


def _open_sockets(settings: Settings) -> Sockets:
    ice = settings.ice
    sockets = Sockets(
        IceOptions(
            udp_port=ice.udp_port,
            bind=ice.bind,
            public_addresses=tuple(str(address) for address in ice.public_addresses),
            allow_private_candidates=ice.allow_private_candidates,
            max_remote_candidates=ice.max_remote_candidates,
        )
    )
    try:
        sockets.open()
    except OSError as error:
        raise CannotStart(
            f"The media port cannot be opened, set ice.udp_port or ice.bind: "
            f"{error.strerror or error}"
        ) from None
    return sockets


def _upstream_options(settings: Settings) -> OpenAIOptions:
    upstream = settings.upstream
    return OpenAIOptions(
        api_key=_revealed(upstream.api_key) or NO_KEY,
        http=HttpOptions(
            url=upstream.url,
            http_proxy=_revealed(upstream.http_proxy),
            ca_bundle=upstream.ca_bundle,
        ),
    )


def _session_options(settings: Settings) -> SessionOptions:
    session = settings.session
    return SessionOptions(
        max_sessions=session.max_sessions,
        connect_timeout_s=settings.upstream.connect_timeout_s,
        disconnect_grace_s=session.disconnect_grace_s,
        max_duration_s=session.max_duration_s,
        idle_timeout_s=session.idle_timeout_s,
        video=settings.media.video == "on",
        channel=ChannelLimits(max_message_bytes=settings.policy.max_message_bytes),
    )


def _mint(auth: AuthSettings) -> TokenMint:
    return TokenMint(
        _revealed(auth.token_secret),
        [secret.get_secret_value() for secret in auth.old_token_secrets],
    )


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


def _revealed(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()


# --- what is told ---


def _why_not_ready(admission: Admission, sockets: Sockets) -> str | None:
    if admission.draining:
        return "The server is shutting down."
    if not sockets.candidates:
        return "There is no address that a browser could reach."
    return None


def _url(http: HttpSettings, port: int) -> str:
    host = "localhost" if http.host in ("", "0.0.0.0", "::") else http.host  # noqa: S104
    scheme = "http" if http.tls_cert is None else "https"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"


def _start_facts(settings: Settings, sockets: Sockets) -> dict[str, object]:
    return {
        "upstream": settings.upstream.url,
        "auth": settings.auth.mode,
        "media": [f"{c.transport} {c.address} {c.port}" for c in sockets.candidates],
    }
