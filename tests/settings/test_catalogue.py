"""The list of settings, and the documentation that has to hold the same."""

from __future__ import annotations

from pathlib import Path

from relay.settings import Settings, load
from relay.settings.catalogue import MASK, keys, nearest, values

DOCUMENTATION = Path(__file__).parents[2] / "docs" / "configuration.md"


def test_documentation_has_a_row_for_every_key_with_its_default_and_description() -> None:
    rows = {line for line in DOCUMENTATION.read_text("utf-8").splitlines() if line.startswith("|")}

    missing = [
        row
        for key in keys()
        if (row := f"| `{key.name}` | `{key.default}` | {key.description} |") not in rows
    ]

    assert missing == []


def test_documentation_names_no_key_that_does_not_exist() -> None:
    known = {key.name for key in keys()}

    named = {
        line.split("`")[1]
        for line in DOCUMENTATION.read_text("utf-8").splitlines()
        if line.startswith("| `")
    }

    assert named == known


def test_keys_all_have_a_description_and_a_variable() -> None:
    for key in keys():
        assert key.description.endswith("."), key.name
        assert key.variable == "RELAY_" + key.name.upper().replace(".", "__")


def test_values_mask_every_secret() -> None:
    secret = "hunter2-hunter2-hunter2-hunter2-hunter2"
    names = [
        "admin.token",
        "upstream.api_key",
        "upstream.http_proxy",
        "auth.token_secret",
    ]

    settings = load(
        overrides={**dict.fromkeys(names, secret), "auth.old_token_secrets": [secret]}
    ).settings
    shown = dict(values(settings))

    assert "hunter2" not in repr(settings)
    assert "hunter2" not in "".join(shown.values())
    assert {shown[name] for name in names} == {f'"{MASK}"'}
    assert shown["auth.old_token_secrets"] == f'["{MASK}"]'


def test_values_cover_every_key() -> None:
    assert [name for name, _ in values(Settings())] == [key.name for key in keys()]


def test_nearest_key_in_the_wrong_section_is_found() -> None:
    assert nearest("http.udp_port") == "ice.udp_port"


def test_nearest_nothing_alike_is_none() -> None:
    assert nearest("zzzzzzzzzzzzzzz") is None
