"""Settings: environment over file over defaults, and nothing wrong gets through."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from core.errors import SettingsError
from core.settings import Settings, env_name, load_settings, setting_names


def test_defaults_need_nothing(tmp_path: Path) -> None:
    settings = load_settings({"PATH": "/bin"}, tmp_path)
    assert settings == Settings()
    assert settings.keys_path == Path("data/keys.json")


def test_environment_wins_over_file_over_defaults(tmp_path: Path) -> None:
    (tmp_path / "wharf.toml").write_text('data_dir = "here"\n[kafka]\nprefix = "file."\npartitions = 4\n')
    settings = load_settings({"WHARF_KAFKA__PREFIX": "env."}, tmp_path)
    assert (settings.kafka.prefix, settings.kafka.partitions) == ("env.", 4)
    assert settings.kafka.bootstrap == "127.0.0.1:9092"
    assert settings.keys_path == Path("here/keys.json")


def test_the_file_may_be_named(tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text('[registry]\nurl = "http://r:1"\n')
    settings = load_settings({"WHARF_CONFIG": str(tmp_path / "other.toml")}, tmp_path / "nowhere")
    assert settings.registry.url == "http://r:1"


def test_a_named_file_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"none\.toml: No such file"):
        load_settings({"WHARF_CONFIG": str(tmp_path / "none.toml")}, tmp_path)


def test_a_file_that_is_not_toml_is_named(tmp_path: Path) -> None:
    (tmp_path / "wharf.toml").write_text("kafka = = 1")
    with pytest.raises(SettingsError, match=r"wharf\.toml: "):
        load_settings({}, tmp_path)


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"WHARF_KAFKA__BOOTSTRP": "a:1"}, "WHARF_KAFKA__BOOTSTRP: unknown setting; .* WHARF_KAFKA__BOOTSTRAP"),
        ({"WHARF_DATADIR": "x"}, "WHARF_DATADIR: unknown setting; .* WHARF_DATA_DIR"),
        ({"WHARF_KAFKA__PARTITIONS": "many"}, "WHARF_KAFKA__PARTITIONS: .*valid integer"),
        ({"WHARF_KAFKA__PARTITIONS": "0"}, "WHARF_KAFKA__PARTITIONS: .*greater than or equal to 1"),
        ({"WHARF_KAFKA__BOOTSTRAP": "no-port"}, "WHARF_KAFKA__BOOTSTRAP: .*pattern"),
        ({"WHARF_TELEMETRY__HOST": "0.0.0.0"}, "WHARF_TELEMETRY__HOST: "),
        ({"WHARF_SIMULATOR__CONTROL_URL": "http://x:1"}, "simulator: .*enabled is false"),
        ({"WHARF_KAFKA__SECURITY_PROTOCOL": "SASL_SSL"}, "kafka: .*sasl_mechanism, sasl_username and sasl_password"),
        ({"WHARF_CLICKHOUSE__SECURE": "true"}, "clickhouse: .*embedded server speaks no TLS"),
        ({"WHARF_CLICKHOUSE__SSL_CA": "ca.pem"}, "clickhouse: .*secure is false"),
        ({"WHARF_LIMITER__SLOT": "a b"}, "WHARF_LIMITER__SLOT: "),
    ],
)
def test_what_is_wrong_is_named(environ: dict[str, str], message: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=message):
        load_settings(environ, tmp_path)


def test_everything_wrong_is_named_at_once(tmp_path: Path) -> None:
    (tmp_path / "wharf.toml").write_text("[kafka]\npartition = 3\n")
    with pytest.raises(SettingsError) as told:
        load_settings({"WHARF_REGISTRI__URL": "x"}, tmp_path)
    assert "kafka.partition in" in told.value.message
    assert "nearest valid name is kafka.partitions" in told.value.message
    assert "WHARF_REGISTRI__URL: unknown setting; the nearest valid name is WHARF_REGISTRY__URL" in told.value.message


def test_secrets_do_not_show_in_errors_or_in_text(tmp_path: Path) -> None:
    environ = {"WHARF_KAFKA__SASL_PASSWORD": "hunter2"}
    with pytest.raises(SettingsError) as told:
        load_settings(environ, tmp_path)
    assert "hunter2" not in str(told.value)
    good = {
        **environ,
        "WHARF_KAFKA__SASL_USERNAME": "u",
        "WHARF_KAFKA__SASL_MECHANISM": "PLAIN",
        "WHARF_KAFKA__SECURITY_PROTOCOL": "SASL_SSL",
    }
    assert "hunter2" not in repr(load_settings(good, tmp_path))


def test_names_for_tests_and_the_stack_are_let_through(tmp_path: Path) -> None:
    load_settings({"WHARF_TEST_KAFKA": "x", "WHARF_STACK_PIPE": "3", "WHARF_ALLOW_FAULTS": "1"}, tmp_path)


@given(name=st.text(st.characters(codec="ascii", categories=["Lu"], include_characters="_"), min_size=1, max_size=30))
def test_no_unknown_name_passes(name: str) -> None:
    variable = f"WHARF_{name}"
    valid = {env_name(setting) for setting in setting_names()}
    assume(variable not in valid and not variable.startswith(("WHARF_TEST_", "WHARF_STACK_")))
    assume(variable not in ("WHARF_CONFIG", "WHARF_ALLOW_FAULTS"))
    with pytest.raises(SettingsError, match=variable):
        load_settings({variable: "1"}, Path("/nonexistent"))
