"""What a setting's value may look like: in the TOML file, and as text in the environment."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    IPvAnyAddress,
    IPvAnyNetwork,
    SecretStr,
)
from pydantic_settings import NoDecode

_PROXY_PORTS: Final = {"http": 80, "socks5": 1080, "socks4": 1080}
_RANGE: Final = re.compile(r"([0-9]{1,5})-([0-9]{1,5})")
_PRINTABLE: Final = re.compile(r"[!-~]{1,512}")


def list_from_text(value: object) -> object:
    """An environment variable holds a list as JSON, or with commas."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        return json.loads(value)
    return [part.strip() for part in value.split(",") if part.strip()]


def json_from_text(value: object) -> object:
    return json.loads(value) if isinstance(value, str) else value


def _http_url(value: str) -> str:
    if not value.startswith(("http://", "https://")) or not urlsplit(value).hostname:
        raise ValueError("should be an http:// or https:// URL")
    return value.rstrip("/")


def _existing_file(value: Path) -> Path:
    try:
        found = value.is_file()
    except OSError as error:  # a folder on the way that is not ours to enter
        raise ValueError(f"cannot be read: {error.strerror}") from None
    if not found:
        raise ValueError("names no file")
    return value


def _ports(value: object) -> object:
    """A port number, or a range as text: "40000-40099"."""
    if isinstance(value, str) and value.strip().isdecimal():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 65535:
        return value
    found = _RANGE.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None or not 0 < int(found[1]) <= int(found[2]) <= 65535:
        raise ValueError("should be a port, 0 to 65535, or a range such as 40000-40099")
    return found[0]


def ports_of(value: int | str) -> int | range:
    """A `Ports` value as what it stands for."""
    if isinstance(value, int):
        return value
    first, _, last = value.partition("-")
    return range(int(first), int(last) + 1)


def _proxy_url(value: SecretStr) -> SecretStr:
    """With its scheme and its port spelled out, which environment variables often leave out."""
    text = value.get_secret_value().strip()
    text = text if "://" in text else f"http://{text}"
    scheme, _, rest = text.partition("://")
    scheme = {"socks5h": "socks5", "socks4a": "socks4"}.get(scheme.lower(), scheme.lower())
    problem = ValueError("should be http://, socks5:// or socks4://, and a host and a port")
    if scheme not in _PROXY_PORTS:
        raise problem
    try:
        parts = urlsplit(f"{scheme}://{rest}")
        port = parts.port or _PROXY_PORTS[scheme]
    except ValueError:
        raise problem from None
    if not parts.hostname:
        raise problem
    user, at, _ = parts.netloc.rpartition("@")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return SecretStr(f"{scheme}://{user}{at}{host}:{port}")


def _printable(value: str) -> str:
    """What may stand in a header."""
    if not _PRINTABLE.fullmatch(value):
        raise ValueError("should be printable ASCII without spaces")
    return value


def _printable_secret(value: SecretStr) -> SecretStr:
    _printable(value.get_secret_value())
    return value


def _store_url(value: SecretStr) -> SecretStr:
    """It may have a password; what else is wrong with it, the store says."""
    scheme = value.get_secret_value().partition("://")[0]
    if not scheme.startswith(("sqlite", "postgres")):
        raise ValueError("should begin with sqlite:/// or postgresql+asyncpg://")
    return value


def _upload_url(value: str) -> str:
    scheme, _, rest = value.partition("://")
    if scheme not in ("s3", "gs", "az", "file") or not rest:
        raise ValueError("should be an s3://, gs://, az:// or file:// URL")
    return value


# NoDecode: pydantic-settings itself would take nothing but JSON from the environment.
Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(list_from_text)]
Addresses = Annotated[tuple[IPvAnyAddress, ...], NoDecode, BeforeValidator(list_from_text)]
Networks = Annotated[tuple[IPvAnyNetwork, ...], NoDecode, BeforeValidator(list_from_text)]
JsonObject = Annotated[dict[str, Any], NoDecode, BeforeValidator(json_from_text)]
JsonObjects = Annotated[tuple[dict[str, Any], ...], NoDecode, BeforeValidator(json_from_text)]
HttpUrl = Annotated[str, AfterValidator(_http_url)]
ExistingFile = Annotated[Path, AfterValidator(_existing_file)]
Port = Annotated[int, Field(ge=0, le=65535)]
TokenSecret = Annotated[SecretStr, Field(min_length=32)]
Ports = Annotated[int | str, BeforeValidator(_ports)]
ProxyUrl = Annotated[SecretStr, AfterValidator(_proxy_url)]
UploadUrl = Annotated[str, AfterValidator(_upload_url)]
StoreUrl = Annotated[SecretStr, AfterValidator(_store_url)]
Printable = Annotated[str, AfterValidator(_printable)]
PrintableSecret = Annotated[SecretStr, AfterValidator(_printable_secret)]


class Section(BaseModel):
    """A table of the file."""

    # Input is hidden: a mistyped secret must not come back in an error message.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)
