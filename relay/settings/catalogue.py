"""The settings as a list: for the documentation, `relay config show`, and to find a near name."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, SecretStr

from relay.settings.model import Settings

MASK = "********"


@dataclass(frozen=True, slots=True)
class Key:
    """One setting: `section.key`, its environment variable, its default as TOML, what it is for."""

    name: str
    variable: str
    default: str
    description: str


def keys() -> Iterator[Key]:
    """Every key, in the order of the model."""
    for section, field in Settings.model_fields.items():
        model = field.annotation
        assert isinstance(model, type)
        assert issubclass(model, BaseModel)
        defaults = model()
        for key, key_field in model.model_fields.items():
            yield Key(
                name=f"{section}.{key}",
                variable=f"RELAY_{section}__{key}".upper(),
                default=shown(getattr(defaults, key)),
                description=key_field.description or "",
            )


def values(settings: Settings) -> Iterator[tuple[str, str]]:
    """Every key with its effective value as TOML; secrets are masked."""
    for key in keys():
        section, _, name = key.name.partition(".")
        yield key.name, shown(getattr(getattr(settings, section), name))


def nearest(name: str) -> str | None:
    """The valid name that `name` was probably meant to be: a section, or `section.key`.

    A key that exists in one other section is taken as put in the wrong place.
    """
    names = [key.name for key in keys()] if "." in name else list(Settings.model_fields)
    last = name.rpartition(".")[2]
    elsewhere = [known for known in names if known.rpartition(".")[2] == last]
    if len(elsewhere) == 1:
        return elsewhere[0]
    return next(iter(difflib.get_close_matches(name, names, n=1, cutoff=0.5)), None)


def shown(value: object) -> str:
    """A value as TOML, for people; `unset` for None, a mask for a secret."""
    return "unset" if value is None else json.dumps(_plain(value), ensure_ascii=False)


def _plain(value: object) -> Any:
    if isinstance(value, SecretStr):
        return MASK
    if isinstance(value, BaseModel):
        return {name: _plain(getattr(value, name)) for name in type(value).model_fields}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, bool | int | float | str | dict):
        return value
    return str(value)
