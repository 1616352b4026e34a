"""The settings' sources, their order, and what they say about a mistake."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from relay.settings import InvalidSettings, load

HASH = "ab" * 32
PUBLIC = {"http.host": "0.0.0.0", "admin.token": "an operator's token"}


@pytest.fixture(autouse=True)
def _in_an_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(text: str, name: str = "relay.toml") -> Path:
    path = Path(name)
    path.write_text(text, encoding="utf-8")
    return path


def problems(path: Path | None = None, **overrides: object) -> tuple[str, ...]:
    with pytest.raises(InvalidSettings) as caught:
        load(path, overrides={name.replace("__", "."): value for name, value in overrides.items()})
    return caught.value.problems


def test_load_nothing_set_gives_defaults_without_origins() -> None:
    loaded = load()

    assert loaded.settings.http.host == "127.0.0.1"
    assert loaded.settings.http.port == 8080
    assert loaded.settings.upstream.url == "https://api.openai.com/v1"
    assert loaded.origins == {}


def test_load_relay_toml_in_the_working_directory_is_read() -> None:
    write("[http]\nport = 9000\n")

    loaded = load()

    assert loaded.settings.http.port == 9000
    assert loaded.origins == {"http.port": "relay.toml"}


def test_load_named_file_is_read_instead() -> None:
    write("[http]\nport = 9000\n")
    other = write("[http]\nport = 9001\n", "other.toml")

    loaded = load(other)

    assert loaded.settings.http.port == 9001
    assert loaded.origins == {"http.port": "other.toml"}


def test_load_environment_wins_over_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    write('[http]\nport = 9000\n[telemetry]\nlog_level = "debug"\n')
    monkeypatch.setenv("RELAY_HTTP__PORT", "9002")

    loaded = load()

    assert loaded.settings.http.port == 9002
    assert loaded.settings.telemetry.log_level == "debug"
    assert loaded.origins == {
        "http.port": "RELAY_HTTP__PORT",
        "telemetry.log_level": "relay.toml",
    }


def test_load_override_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RELAY_UPSTREAM__URL", "http://127.0.0.1:1/v1")

    loaded = load(overrides={"upstream.url": "http://127.0.0.1:2/v1"})

    assert loaded.settings.upstream.url == "http://127.0.0.1:2/v1"
    assert loaded.origins["upstream.url"] == "the command"


def test_load_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RELAY_ADMIN__TOKEN", "")

    assert load().settings.admin.token is None


@pytest.mark.parametrize("text", ["10.0.0.5, eth1", '["10.0.0.5", "eth1"]'])
def test_load_list_from_a_variable_takes_commas_and_json(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("RELAY_ICE__BIND", text)

    assert load().settings.ice.bind == ("10.0.0.5", "eth1")


def test_load_tables_from_variables_take_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RELAY_AUTH__MODE", "keys")
    monkeypatch.setenv("RELAY_AUTH__KEYS", f'[{{"id": "shop", "hash": "{HASH}"}}]')
    monkeypatch.setenv("RELAY_SESSION__TURN_DETECTION", '{"type": "semantic_vad"}')

    settings = load().settings

    assert [key.id for key in settings.auth.keys] == ["shop"]
    assert settings.session.turn_detection == {"type": "semantic_vad"}


@pytest.mark.parametrize("name", ["RELAY_PORT", "RELAY_SERVICE_HOST", "RELAY_PORT_8080_TCP_ADDR"])
def test_load_kubernetes_service_variables_are_not_ours(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "tcp://10.0.0.1:8080")

    assert load().origins == {}


# --- fallbacks ---


def test_load_openai_api_key_is_the_fallback_for_the_upstream_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-from-the-environment")

    loaded = load()

    key = loaded.settings.upstream.api_key
    assert key is not None
    assert key.get_secret_value() == "sk-from-the-environment"
    assert loaded.origins == {"upstream.api_key": "OPENAI_API_KEY"}


def test_load_own_upstream_key_wins_over_openai_api_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-shared")
    monkeypatch.setenv("RELAY_UPSTREAM__API_KEY", "sk-own")

    key = load().settings.upstream.api_key

    assert key is not None
    assert key.get_secret_value() == "sk-own"


@pytest.mark.parametrize(
    ("url", "no_proxy", "expected"),
    [
        ("https://api.openai.com/v1", "", True),
        ("https://api.openai.com/v1", "api.openai.com", False),
        ("http://127.0.0.1:8090/v1", "", False),
    ],
)
def test_load_https_proxy_is_the_fallback_for_https_upstreams_outside_no_proxy(
    monkeypatch: pytest.MonkeyPatch, url: str, no_proxy: str, expected: bool
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", no_proxy)

    proxy = load(overrides={"upstream.url": url}).settings.upstream.http_proxy

    assert (proxy is not None) is expected


def test_load_simulator_provider_has_the_simulators_url() -> None:
    settings = load(overrides={"upstream.provider": "simulator"}).settings

    assert settings.upstream.url == "http://127.0.0.1:8090/v1"


# --- mistakes ---


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[http]\nprot = 1\n", "relay.toml: http.prot is not a setting; did you mean http.port?"),
        ("[htpp]\nport = 1\n", "relay.toml: htpp is not a setting; did you mean http?"),
        (
            "[http]\nmax_sessions = 1\n",
            "relay.toml: http.max_sessions is not a setting; did you mean session.max_sessions?",
        ),
        ("[http]\nzzzzzzzzzzzz = 1\n", "relay.toml: http.zzzzzzzzzzzz is not a setting"),
    ],
)
def test_load_unknown_key_is_an_error_that_names_the_nearest(text: str, expected: str) -> None:
    assert problems(write(text)) == (expected,)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "RELAY_HTTP__PROT",
            "RELAY_HTTP__PROT: http.prot is not a setting; did you mean http.port?",
        ),
        ("RELAY_HTPP__PORT", "RELAY_HTPP__PORT: htpp is not a setting; did you mean http?"),
    ],
)
def test_load_unknown_variable_is_an_error_that_names_the_nearest(
    monkeypatch: pytest.MonkeyPatch, name: str, expected: str
) -> None:
    monkeypatch.setenv(name, "1")

    assert problems() == (expected,)


def test_load_several_mistakes_are_all_named() -> None:
    found = problems(write('[http]\nport = 70000\n[auth]\nmode = "jwt"\n'))

    assert len(found) == 2
    assert found[0].startswith("relay.toml: http.port: ")
    assert found[1].startswith("relay.toml: auth.mode: ")


def test_load_file_that_is_missing_is_an_error() -> None:
    assert problems(Path("gone.toml")) == ("gone.toml cannot be read: No such file or directory",)


def test_load_file_that_is_no_toml_is_an_error_with_the_line() -> None:
    (problem,) = problems(write("[http\nport = 1\n"))

    assert problem.startswith("relay.toml is not TOML: ")
    assert "line 1" in problem


def test_load_section_that_is_no_table_is_an_error() -> None:
    (problem,) = problems(write("http = 3\n"))

    assert problem.startswith("relay.toml: http: ")


@pytest.mark.parametrize("name", ["admin.token", "auth.token_secret", "upstream.http_proxy"])
def test_load_mistyped_secret_is_not_repeated_in_the_error(name: str) -> None:
    secret = ["hunter2-hunter2-hunter2-hunter2-hunter2"]

    with pytest.raises(InvalidSettings) as caught:
        load(overrides={name: secret})

    assert "hunter2" not in str(caught.value)


# --- a public address ---


def test_load_public_address_without_authentication_is_refused() -> None:
    with pytest.raises(InvalidSettings, match=r"auth\.mode = none"):
        load(overrides=PUBLIC)


def test_load_public_address_with_anonymous_said_twice_is_taken() -> None:
    settings = load(overrides={**PUBLIC, "auth.allow_anonymous": True}).settings

    assert settings.http.host == "0.0.0.0"


def test_load_public_address_without_an_operators_token_is_refused() -> None:
    with pytest.raises(InvalidSettings, match=r"admin\.token is needed"):
        load(
            overrides={
                "http.host": "0.0.0.0",
                "auth.mode": "keys",
                "auth.keys": [{"id": "shop", "hash": HASH}],
            }
        )


def test_load_operators_own_public_address_without_a_token_is_refused() -> None:
    with pytest.raises(InvalidSettings, match=r"admin\.host is not loopback"):
        load(overrides={"admin.host": "0.0.0.0", "admin.port": 8081})


def test_load_operators_own_host_without_a_port_is_refused() -> None:
    with pytest.raises(InvalidSettings, match=r"admin\.host goes with admin\.port"):
        load(overrides={"admin.host": "127.0.0.1"})


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.8.8", "::1"])
def test_load_loopback_address_needs_no_authentication(host: str) -> None:
    assert load(overrides={"http.host": host}).settings.http.is_loopback


@pytest.mark.parametrize("host", ["", "0.0.0.0", "::", "10.0.0.1", "relay.example", "localhost.x"])
def test_load_any_other_address_counts_as_public(host: str) -> None:
    with pytest.raises(InvalidSettings, match="not loopback"):
        load(overrides={"http.host": host})


# --- values that belong together ---


def test_load_keys_mode_without_a_key_is_refused() -> None:
    with pytest.raises(InvalidSettings, match="relay keys create"):
        load(overrides={"auth.mode": "keys"})


def test_load_two_keys_with_one_id_are_refused() -> None:
    key = {"id": "shop", "hash": HASH}
    with pytest.raises(InvalidSettings, match="same id"):
        load(overrides={"auth.mode": "keys", "auth.keys": [key, key]})


def test_load_tls_certificate_without_its_key_is_refused() -> None:
    certificate = write("", "cert.pem")
    with pytest.raises(InvalidSettings, match="go together"):
        load(overrides={"http.tls_cert": str(certificate)})


def test_load_file_that_does_not_exist_is_refused() -> None:
    with pytest.raises(InvalidSettings, match="names no file"):
        load(overrides={"upstream.ca_bundle": "gone.pem"})


@pytest.mark.parametrize(
    ("mode", "passthrough", "expected"),
    [("none", None, True), ("keys", None, False), ("none", False, False), ("keys", True, True)],
)
def test_load_passthrough_unset_follows_the_mode(
    mode: str, passthrough: bool | None, expected: bool
) -> None:
    auth = {"auth.mode": mode, "auth.keys": [{"id": "a", "hash": HASH}]}

    settings = load(overrides={**auth, "auth.passthrough": passthrough}).settings

    assert settings.auth.passes_through is expected


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200))
def test_load_any_bytes_as_the_file_end_in_settings_or_in_a_typed_error(data: bytes) -> None:
    path = Path("any.toml")
    path.write_bytes(data)

    with suppress(InvalidSettings):
        load(path)
