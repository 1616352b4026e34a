"""Settings → options of the rooms."""

from __future__ import annotations

import ssl
from typing import Final

from pydantic import SecretStr

from relay.core.session_config import SHORT_NAMES, SessionRules, path_of, put
from relay.policy.keys import KeyRing
from relay.policy.tokens import TokenMint
from relay.rtc import IceOptions
from relay.session.model import ChannelLimits, SessionOptions
from relay.settings import SessionSettings, Settings
from relay.upstream.http import HttpOptions, proxy_for
from relay.upstream.openai import OpenAIOptions
from relay.web.auth import Authenticator

NO_KEY: Final = "sk-simulator"
"""What the simulator is shown where the server has no key; it takes any that looks like one."""


def ice_options(settings: Settings, turn_ca: ssl.SSLContext | None) -> IceOptions:
    """`turn_ca` is `turn_context`'s."""
    ice, upstream = settings.ice, settings.upstream
    transport = upstream.transport
    return IceOptions(
        udp_port=ice.udp_ports,
        tcp_port=ice.tcp_port,
        bind=ice.bind,
        public_addresses=tuple(str(address) for address in ice.public_addresses),
        advertise_bound=ice.advertise_bound,
        allow_private_candidates=ice.allow_private_candidates,
        max_remote_candidates=ice.max_remote_candidates,
        upstream_transport="auto" if transport == "turn" else transport,
        proxy=proxy_for(upstream.url, revealed(upstream.http_proxy)),
        client_servers=ice.for_clients,
        upstream_servers=() if transport in ("udp", "tcp") else ice.for_upstream,
        client_policy=ice.policy,
        upstream_policy="relay" if transport == "turn" else ice.policy,
        turn_ca=turn_ca,
    )


def turn_context(settings: Settings) -> ssl.SSLContext | None:
    """What verifies turns: servers; None where there is none. Reads files."""
    ice = settings.ice
    if not any(server.is_tls for server in (*ice.for_clients, *ice.for_upstream)):
        return None
    context = ssl.create_default_context()
    if ice.ca_bundle is not None:
        context.load_verify_locations(cafile=ice.ca_bundle)
    return context


def upstream_options(settings: Settings) -> OpenAIOptions:
    upstream = settings.upstream
    return OpenAIOptions(
        api_key=revealed(upstream.api_key) or NO_KEY,
        http=HttpOptions(
            url=upstream.url,
            http_proxy=revealed(upstream.http_proxy),
            ca_bundle=upstream.ca_bundle,
        ),
    )


def session_options(settings: Settings) -> SessionOptions:
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


def token_mint(settings: Settings) -> TokenMint:
    auth = settings.auth
    old = [secret.get_secret_value() for secret in auth.old_token_secrets]
    return TokenMint(revealed(auth.token_secret), old)


def authenticator(settings: Settings, mint: TokenMint) -> Authenticator:
    auth = settings.auth
    return Authenticator(
        auth.mode,
        KeyRing({key.id: key.hash for key in auth.keys}),
        mint,
        passthrough=auth.passes_through,
        max_call_s=settings.session.max_duration_s,
    )


def session_rules(settings: Settings) -> SessionRules:
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


def revealed(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()
