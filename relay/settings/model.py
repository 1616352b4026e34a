"""The settings' names, types, defaults and descriptions.

What is here is honoured; what nobody reads is not here. `docs/configuration.md` lists every key,
and a test holds the two together.
"""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from relay.settings.ice import IceSettings, TurnSettings
from relay.settings.values import (
    ExistingFile,
    HttpUrl,
    JsonObject,
    JsonObjects,
    Names,
    Networks,
    Port,
    ProxyUrl,
    Section,
    StoreUrl,
    TokenSecret,
    UploadUrl,
    json_from_text,
    list_from_text,
)

DEFAULT_UPSTREAM_URLS = {
    "openai": "https://api.openai.com/v1",
    "simulator": "http://127.0.0.1:8090/v1",
}


# --- the sections -----------------------------------------------------------------------------


class HttpSettings(Section):
    """The HTTP listener."""

    host: str = Field(default="127.0.0.1", description="Address or name to listen on.")
    port: Port = Field(default=8080, description="TCP port to listen on; 0 = any free one.")
    tls_cert: ExistingFile | None = Field(
        default=None,
        description="PEM file with the certificate chain; with `http.tls_key`, serves HTTPS.",
    )
    tls_key: ExistingFile | None = Field(default=None, description="PEM file with the private key.")
    cors_origins: Names = Field(
        default=("*",), description="Origins whose pages may call the relay; `*` = any."
    )
    public_url: HttpUrl | None = Field(
        default=None,
        description="URL under which browsers reach the relay, for what is printed and logged.",
    )
    max_body_bytes: int = Field(
        default=65_536, ge=1024, le=16_777_216, description="Largest request body taken, in bytes."
    )
    body_timeout_s: float = Field(
        default=10.0, gt=0, le=300, description="Seconds a request body may take to arrive."
    )
    trusted_proxies: Networks = Field(
        default=(), description="Networks of reverse proxies whose `X-Forwarded-For` is believed."
    )

    @model_validator(mode="after")
    def _tls_is_whole(self) -> Self:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key go together; set both or neither")
        return self

    @property
    def is_loopback(self) -> bool:
        """Whether nobody but this machine can reach the listener."""
        return is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Whether an address or name to listen on is this machine's alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class AdminSettings(Section):
    """The operator's side."""

    token: Annotated[SecretStr, Field(min_length=16)] | None = Field(
        default=None,
        description="Bearer token of the operator, 16 characters or more. Needed when `http.host` "
        "or `admin.host` is not loopback. Once set, `/metrics` asks for it.",
    )
    host: str | None = Field(
        default=None,
        description="Address of a listener for `/admin` alone, with `admin.port`; default: that "
        "of `http.host`.",
    )
    port: Port | None = Field(
        default=None,
        description="Its TCP port; unset = `/admin` is served where everything is.",
    )

    @model_validator(mode="after")
    def _host_has_a_port(self) -> Self:
        if self.host is not None and self.port is None:
            raise ValueError("admin.host goes with admin.port; set both or neither")
        return self


class UpstreamSettings(Section):
    """Where calls go."""

    provider: Literal["openai", "simulator"] = Field(
        default="openai", description="Who answers: `openai`, or `simulator` (needs no key)."
    )
    url: HttpUrl = Field(
        default_factory=lambda data: DEFAULT_UPSTREAM_URLS[data.get("provider", "openai")],
        description="Base URL of the upstream API.",
    )
    api_key: SecretStr | None = Field(
        default=None,
        description="The server's key at the upstream; falls back to `OPENAI_API_KEY`.",
    )
    model: str = Field(
        default="gpt-realtime-2.1",
        description="Model of a call that names none, or a retired preview.",
    )
    http_proxy: ProxyUrl | None = Field(
        default=None,
        description="Proxy for signaling and for ICE over TCP, `http://user:password@host:port` "
        "(CONNECT), `socks5://…` or `socks4://…`; falls back to `HTTPS_PROXY` (and respects "
        "`NO_PROXY`) when `upstream.url` is https.",
    )
    transport: Literal["auto", "udp", "tcp", "turn"] = Field(
        default="auto",
        description="What the media's way to the upstream may be: `auto` tries UDP, a moment "
        "later TCP, and TURN where `ice.upstream_servers` has it, and keeps what works; the "
        "others try that alone.",
    )
    ca_bundle: ExistingFile | None = Field(
        default=None, description="PEM file with the authorities trusted for `upstream.url`."
    )
    prices: ExistingFile | None = Field(
        default=None,
        description="TOML file with prices that take the place of the built-in ones, model by "
        "model.",
    )
    connect_timeout_s: float = Field(
        default=15.0,
        gt=0,
        le=120,
        description="Seconds the upstream has to answer an offer, and then each leg to connect.",
    )


class MediaSettings(Section):
    """What travels beside audio."""

    video: Literal["off", "on"] = Field(
        default="off", description="`off` answers a video section with port 0; `on` lets it pass."
    )


class SessionSettings(Section):
    """Limits of a call, and what the relay puts into its session configuration."""

    max_sessions: int = Field(
        default=200, ge=1, description="Most calls at a time; the next gets 503."
    )
    max_duration_s: float = Field(
        default=3600.0, gt=0, description="Seconds after which a call is ended."
    )
    idle_timeout_s: float = Field(
        default=0.0,
        ge=0,
        description="Seconds without a data-channel message (without a packet, where there is no "
        "channel) that end a call; 0 = never.",
    )
    disconnect_grace_s: float = Field(
        default=10.0,
        ge=0,
        description="Seconds a call outlives the loss of contact with its browser.",
    )
    instructions: str | None = Field(default=None, description="Default `instructions`.")
    voice: str | None = Field(default=None, description="Default `audio.output.voice`.")
    tools: JsonObjects | None = Field(default=None, description="Default `tools`.")
    transcription: JsonObject | None = Field(
        default=None, description="Default `audio.input.transcription`."
    )
    turn_detection: JsonObject | None = Field(
        default=None, description="Default `audio.input.turn_detection`."
    )
    locked: Names = Field(
        default=(),
        description="Fields a client may not set when it opens a call: `model`, `instructions`, "
        "`voice`, `tools`, `transcription`, `turn_detection`, or a path such as "
        "`audio.output.speed`. A token minted with a relay key may set them.",
    )


class ApiKey(Section):
    """One relay key, as `relay keys create` prints it."""

    id: str = Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")
    hash: str = Field(pattern=r"^[0-9a-f]{64}$")


class AuthSettings(Section):
    """Who may call."""

    mode: Literal["none", "keys"] = Field(
        default="none",
        description="`none` lets everybody call; `keys` asks for a relay key or a token.",
    )
    allow_anonymous: bool = Field(
        default=False,
        description="Says a second time that `auth.mode = none` is meant on a public address.",
    )
    keys: Annotated[tuple[ApiKey, ...], NoDecode, BeforeValidator(json_from_text)] = Field(
        default=(), description="Relay keys, `{id, hash}` each, as `relay keys create` prints them."
    )
    token_secret: TokenSecret | None = Field(
        default=None,
        description="Secret that encrypts `ek_` tokens, 32 characters or more. Unset: a random "
        "one, and tokens die with the process.",
    )
    old_token_secrets: Annotated[
        tuple[TokenSecret, ...], NoDecode, BeforeValidator(list_from_text)
    ] = Field(default=(), description="Earlier secrets whose tokens are still taken.")
    passthrough: bool | None = Field(
        default=None,
        description="Whether a client's own upstream `ek_` token is passed through. Unset: only "
        "when `auth.mode = none`.",
    )

    @model_validator(mode="after")
    def _keys_are_usable(self) -> Self:
        ids = [key.id for key in self.keys]
        if len(set(ids)) != len(ids):
            raise ValueError("two keys have the same id")
        if self.mode == "keys" and not ids:
            raise ValueError("mode = keys needs a key; make one with `relay keys create`")
        return self

    @property
    def passes_through(self) -> bool:
        return self.mode == "none" if self.passthrough is None else self.passthrough


class PolicySettings(Section):
    """How much is too much."""

    max_message_bytes: int = Field(
        default=16_777_216,
        ge=1024,
        le=16_777_216,
        description="Largest data-channel message, in bytes.",
    )
    calls_per_minute: int = Field(
        default=600,
        ge=0,
        description="Calls a minute a relay key and its tokens may open; 0 = any number.",
    )
    calls_per_minute_per_address: int = Field(
        default=600, ge=0, description="Calls a minute one client address may open; 0 = any number."
    )


class RecordingSettings(Section):
    """What is kept of calls."""

    mode: Literal["off", "events", "audio"] = Field(
        default="off",
        description="What is kept of each call: nothing, its events and transcript (`events`), or "
        "both directions' audio as well (`audio`). `relay demo` keeps audio.",
    )
    directory: Path = Field(
        default=Path("recordings"),
        description="Directory of the conversations' folders; it is made when it is needed.",
    )
    mix: bool = Field(
        default=False,
        description="Whether a stereo mix (left client, right upstream) is made after each call.",
    )
    retention_days: int = Field(
        default=0,
        ge=0,
        le=36_500,
        description="Days for which conversations are kept, after the one on which they began, "
        "here and where they were uploaded to; 0 = for ever.",
    )
    upload_url: UploadUrl | None = Field(
        default=None,
        description="Where finished conversations are uploaded to: `s3://…`, `gs://…`, `az://…` or "
        "`file:///…`. Credentials come from the environment, as the provider's own tools have "
        "them.",
    )
    delete_after_upload: bool = Field(
        default=False,
        description="Whether a folder is deleted here once its upload is proved to be whole.",
    )

    @model_validator(mode="after")
    def _deletes_what_it_uploads(self) -> Self:
        if self.delete_after_upload and self.upload_url is None:
            raise ValueError("delete_after_upload needs upload_url")
        return self


class StoreSettings(Section):
    """The index of stored conversations."""

    url: StoreUrl | None = Field(
        default=None,
        description="Database of the index, `sqlite:///FILE` or `postgresql+asyncpg://…`; unset = "
        "`index.sqlite` in `recording.directory`.",
    )


class TelemetrySettings(Section):
    """What the relay tells of itself."""

    log_format: Literal["auto", "json", "console"] = Field(
        default="auto", description="`auto` is `console` on a terminal and `json` elsewhere."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="The least severe log lines written."
    )


class Settings(BaseSettings):
    """All settings, validated. Build it with `load`; `Settings()` alone reads no file."""

    model_config = SettingsConfigDict(
        env_prefix="RELAY_",
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )

    http: HttpSettings = HttpSettings()
    admin: AdminSettings = AdminSettings()
    upstream: UpstreamSettings = UpstreamSettings()
    ice: IceSettings = IceSettings()
    turn: TurnSettings = TurnSettings()
    media: MediaSettings = MediaSettings()
    session: SessionSettings = SessionSettings()
    auth: AuthSettings = AuthSettings()
    policy: PolicySettings = PolicySettings()
    recording: RecordingSettings = RecordingSettings()
    store: StoreSettings = StoreSettings()
    telemetry: TelemetrySettings = TelemetrySettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003  (pydantic-settings' own signature)
        init_settings: PydanticBaseSettingsSource,
        *_args: PydanticBaseSettingsSource,
        **_sources: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        # `load` lays the sources over one another itself, to know where each key came from.
        return (init_settings,)

    @model_validator(mode="after")
    def _public_address_is_guarded(self) -> Self:
        if self.http.is_loopback:
            if self.admin.token is None and not is_loopback(self.admin.host or self.http.host):
                raise ValueError("admin.token is needed, because admin.host is not loopback")
            return self
        if self.auth.mode == "none" and not self.auth.allow_anonymous:
            raise ValueError(
                "auth.mode = none would let everybody call on the upstream key, because http.host "
                "is not loopback; set auth.mode = keys, or auth.allow_anonymous = true if meant"
            )
        if self.admin.token is None:
            raise ValueError("admin.token is needed, because http.host is not loopback")
        return self

    @model_validator(mode="after")
    def _relay_only_has_a_relay(self) -> Self:
        only = self.ice.policy == "relay"
        if only and self.upstream.transport in ("udp", "tcp"):
            raise ValueError("ice.policy = relay allows upstream.transport = auto or turn only")
        if only and not any(server.is_turn for server in self.ice.for_clients):
            raise ValueError(
                "ice.policy = relay needs a turn: server in ice.servers or ice.client_servers"
            )
        wants = only or self.upstream.transport == "turn"
        if wants and not any(server.is_turn for server in self.ice.for_upstream):
            what = "ice.policy = relay" if only else "upstream.transport = turn"
            raise ValueError(f"{what} needs a turn: server in ice.servers or ice.upstream_servers")
        return self
