"""Typed settings: one TOML file, and the environment, which wins. It is read by `load` alone."""

from relay.settings.ice import IceServerEntry, IceSettings, TurnSettings
from relay.settings.load import DEFAULT_FILE, InvalidSettings, Loaded, load
from relay.settings.model import (
    AdminSettings,
    ApiKey,
    AuthSettings,
    HttpSettings,
    MediaSettings,
    PolicySettings,
    RecordingSettings,
    SessionSettings,
    Settings,
    StoreSettings,
    TelemetrySettings,
    UpstreamSettings,
)

__all__ = [
    "DEFAULT_FILE",
    "AdminSettings",
    "ApiKey",
    "AuthSettings",
    "HttpSettings",
    "IceServerEntry",
    "IceSettings",
    "InvalidSettings",
    "Loaded",
    "MediaSettings",
    "PolicySettings",
    "RecordingSettings",
    "SessionSettings",
    "Settings",
    "StoreSettings",
    "TelemetrySettings",
    "TurnSettings",
    "UpstreamSettings",
    "load",
]
