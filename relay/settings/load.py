"""Lays the sources of the settings over one another: fallbacks, the file, the environment."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import proxy_bypass

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import EnvSettingsSource

from relay.settings.catalogue import nearest
from relay.settings.model import DEFAULT_UPSTREAM_URLS, Settings

DEFAULT_FILE = Path("relay.toml")


class InvalidSettings(Exception):
    """The settings cannot be used; `problems` has one line for each fault, free of their values."""

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Loaded:
    """The effective settings, and for each key that is not a default where it came from."""

    settings: Settings
    origins: Mapping[str, str]


@dataclass(slots=True)
class _Layers:
    """Section → key → value; what is put later wins."""

    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)

    def put(self, section: str, key: str, value: object, origin: str) -> None:
        self.values.setdefault(section, {})[key] = value
        self.origins[f"{section}.{key}"] = origin

    def put_all(self, nested: Mapping[str, Any], origin: str) -> None:
        for section, table in nested.items():
            if not isinstance(table, Mapping):  # pydantic will say what should stand here
                self.values[section] = table
                self.origins[section] = origin
                continue
            for key, value in table.items():
                self.put(section, key, value, origin)

    def get(self, section: str, key: str) -> object:
        table = self.values.get(section)
        return table.get(key) if isinstance(table, dict) else None


def load(path: Path | None = None, *, overrides: Mapping[str, object] | None = None) -> Loaded:
    """The settings of this process.

    `path` is the TOML file; None takes `relay.toml` of the working directory, if there is one.
    `overrides` (`section.key` → value) win over everything: a command's own demands.
    Raises InvalidSettings.
    """
    layers = _Layers()
    if path is not None or DEFAULT_FILE.is_file():
        file = path or DEFAULT_FILE
        layers.put_all(_read_file(file), str(file))
    _put_environment(layers)
    for name, value in (overrides or {}).items():
        section, _, key = name.partition(".")
        layers.put(section, key, value, "the command")
    _put_fallbacks(layers)
    try:
        return Loaded(Settings(**layers.values), layers.origins)
    except ValidationError as error:
        problems = [_problem(details, layers.origins) for details in error.errors()]
        raise InvalidSettings(*problems) from None


def _read_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidSettings(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InvalidSettings(f"{path} is not UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise InvalidSettings(f"{path} is not TOML: {error}") from None


def _put_environment(layers: _Layers) -> None:
    unknown = [
        name for name in _setting_variables() if _section_of(name) not in Settings.model_fields
    ]
    if unknown:
        raise InvalidSettings(*(f"{name}: {_not_a_setting(_section_of(name))}" for name in unknown))
    nested = EnvSettingsSource(Settings, env_ignore_empty=True)()
    for section, table in nested.items():
        for key, value in table.items():
            layers.put(section, key, value, f"RELAY_{section}__{key}".upper())


def _setting_variables() -> Iterator[str]:
    # Without the double underscore it is not ours: Kubernetes sets RELAY_PORT and more like it
    # for a service called relay.
    return (name for name in os.environ if name.upper().startswith("RELAY_") and "__" in name)


def _section_of(variable: str) -> str:
    return variable.upper().removeprefix("RELAY_").partition("__")[0].lower()


def _put_fallbacks(layers: _Layers) -> None:
    """The variables that other programs share with us, where nothing of ours was set."""
    api_key = os.environ.get("OPENAI_API_KEY")
    if api_key and layers.get("upstream", "api_key") is None:
        layers.put("upstream", "api_key", api_key, "OPENAI_API_KEY")
    variable = "HTTPS_PROXY" if os.environ.get("HTTPS_PROXY") else "https_proxy"
    proxy = os.environ.get(variable)
    if proxy and layers.get("upstream", "http_proxy") is None and _goes_by_proxy(layers):
        layers.put("upstream", "http_proxy", proxy, variable)


def _goes_by_proxy(layers: _Layers) -> bool:
    provider = layers.get("upstream", "provider") or "openai"
    url = urlsplit(str(layers.get("upstream", "url") or DEFAULT_UPSTREAM_URLS.get(str(provider))))
    return url.scheme == "https" and not proxy_bypass(url.hostname or "")


def _problem(error: ErrorDetails, origins: Mapping[str, str]) -> str:
    name = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        text = _not_a_setting(name)
    else:
        message = error["msg"].removeprefix("Value error, ")
        text = f"{name}: {message}" if name else message
    origin = _origin(".".join(name.split(".")[:2]), origins)
    return f"{origin}: {text}" if origin else text


def _origin(name: str, origins: Mapping[str, str]) -> str | None:
    """Where `section.key`, or the first key of a section, came from."""
    found = (at for key, at in origins.items() if key == name or key.startswith(f"{name}."))
    return next(found, None) if name else None


def _not_a_setting(name: str) -> str:
    near = nearest(name)
    hint = f"; did you mean {near}?" if near else ""
    return f"{name} is not a setting{hint}"
