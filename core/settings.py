"""Settings of every process: environment (`WHARF_SECTION__NAME`) over `wharf.toml` over the defaults here.

An unknown name or a malformed value stops the start with its name, what is wrong and the nearest valid name; nothing is
ignored. `Settings(...)` itself reads nothing from outside; `load_settings()` does.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints, ValidationError, model_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from core.errors import SettingsError

PREFIX = "WHARF_"
DELIMITER = "__"
# Names with the prefix that are not settings: where settings are, and switches of the tests and of the supervisor.
NOT_SETTINGS = ("WHARF_CONFIG", "WHARF_ALLOW_FAULTS")
NOT_SETTINGS_PREFIXES = ("WHARF_TEST_", "WHARF_STACK_")

Slot = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
Port = Annotated[int, Field(ge=0, le=65535)]
HttpUrl = Annotated[str, StringConstraints(pattern=r"^https?://[^\s]+$")]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class KafkaSettings(Section):
    """The cluster. `external` means that it is not ours to start."""

    bootstrap: Annotated[str, StringConstraints(pattern=r"^[^\s,:]+:\d+(,[^\s,:]+:\d+)*$")] = "127.0.0.1:9092"
    prefix: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]*$", max_length=60)] = "wa."
    partitions: Annotated[int, Field(ge=1, le=10_000)] = 8
    replication_factor: Annotated[int, Field(ge=1, le=20)] = 1
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    sasl_username: str | None = None
    sasl_password: SecretStr | None = None
    ssl_ca: Path | None = None
    external: bool = False

    @model_validator(mode="after")
    def _sasl_is_complete(self) -> KafkaSettings:
        wants = self.security_protocol.startswith("SASL_")
        given = [self.sasl_mechanism, self.sasl_username, self.sasl_password]
        if wants and None in given:
            raise ValueError("sasl_mechanism, sasl_username and sasl_password are needed with this security_protocol")
        if not wants and any(value is not None for value in given):
            raise ValueError("sasl_* is set but security_protocol does not use SASL")
        return self


class RegistrySettings(Section):
    url: HttpUrl = "http://127.0.0.1:8081"
    external: bool = False


class ClickHouseSettings(Section):
    """The server and what it keeps; `external` means that it is not ours to start. Without `enabled` the local stack has
    neither it nor the sink, and nothing asks it. With `cluster`, its name there, tables are replicated and distributed.
    Rows are kept so many days, 0 = for ever: events from when they were received, typed tables and rollups by their own
    time. `user` may do everything; `reader_user` only reads, and the embedded server stops its queries at the
    `reader_max_*`."""

    enabled: bool = True
    host: Annotated[str, StringConstraints(pattern=r"^[^\s,:/]+$|^[0-9a-fA-F:]+$")] = "127.0.0.1"
    port: Port = 9000
    http_port: Port = 8123
    user: Annotated[str, StringConstraints(min_length=1)] = "default"
    password: SecretStr = SecretStr("")
    reader_user: Annotated[str, StringConstraints(min_length=1)] = "reader"
    reader_password: SecretStr = SecretStr("")
    reader_max_seconds: Annotated[int, Field(ge=1, le=86_400)] = 30
    reader_max_memory_bytes: Annotated[int, Field(ge=1 << 20)] = 1 << 30
    reader_max_result_rows: Annotated[int, Field(ge=1)] = 1_000_000
    reader_max_rows_to_read: Annotated[int, Field(ge=1)] = 1_000_000_000
    # How long the answer of a named query may be given again; 0 = never.
    cache_seconds: Annotated[int, Field(ge=0, le=3600)] = 10
    database: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")] = "wharf"
    external: bool = False
    # TLS on both ports; `ssl_ca` is the file of whoever signed its certificate, else the system's are asked.
    secure: bool = False
    ssl_ca: Path | None = None
    cluster: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_-]*$")] | None = None
    retention_days: Annotated[int, Field(ge=0, le=36_500)] = 400
    rollup_retention_days: Annotated[int, Field(ge=0, le=36_500)] = 0
    # Of the embedded server: connections at once, and bytes of blocks that all of them together may be sending.
    max_connections: Annotated[int, Field(ge=1, le=10_000)] = 64
    max_incoming_bytes: Annotated[int, Field(ge=1 << 20)] = 512 << 20

    @model_validator(mode="after")
    def _two_users_and_two_ports(self) -> ClickHouseSettings:
        if self.user == self.reader_user:
            raise ValueError("user and reader_user are the same; queries of users are run as one who may only read")
        if self.port and self.port == self.http_port:
            raise ValueError("port and http_port are the same")
        if self.cluster is not None and not self.external:
            raise ValueError("cluster is set but external is false; the embedded server is no cluster")
        if self.secure and not self.external:
            raise ValueError("secure is set but external is false; the embedded server speaks no TLS")
        if self.ssl_ca is not None and not self.secure:
            raise ValueError("ssl_ca is set but secure is false")
        return self


class SimulatorSettings(Section):
    """Only with `enabled` may anything lead to the simulated WhatsApp."""

    enabled: bool = False
    control_url: Annotated[str, StringConstraints(pattern=r"^(https?://[^\s]+)?$")] = ""
    external: bool = False

    @model_validator(mode="after")
    def _address_only_when_enabled(self) -> SimulatorSettings:
        if self.control_url and not self.enabled:
            raise ValueError("control_url is set but enabled is false")
        return self


class ProcessorSettings(Section):
    """What every transactional loop needs; `slot` is its place in the group and its transactional id."""

    slot: Slot
    session_timeout_ms: Annotated[int, Field(ge=1000, le=300_000)] = 6000


Milliseconds = Annotated[int, Field(ge=100, le=86_400_000)]


class SupervisionSettings(Section):
    """When a session's connection counts as dead and how it comes back (docs/sessions.md).

    WhatsApp is pinged each `keepalive_min_ms` to `keepalive_max_ms`; a connection on which nothing came for `silence_ms`
    is made anew, first after `reconnect_first_ms`, then doubling to `reconnect_most_ms`, with jitter. `parallel_starts`
    sessions log in at once. `follow_up_ms` is how long an undecryptable message is waited for before it is a gap.
    """

    keepalive_min_ms: Milliseconds = 20_000
    keepalive_max_ms: Milliseconds = 30_000
    keepalive_answer_ms: Milliseconds = 10_000
    silence_ms: Milliseconds = 60_000
    login_ms: Milliseconds = 30_000
    pair_watchdog_ms: Milliseconds = 5_000
    reconnect_first_ms: Milliseconds = 1_000
    reconnect_most_ms: Milliseconds = 120_000
    parallel_starts: Annotated[int, Field(ge=1, le=1_000)] = 32
    follow_up_ms: Milliseconds = 600_000

    @model_validator(mode="after")
    def _a_quiet_connection_is_not_dead(self) -> SupervisionSettings:
        if self.keepalive_max_ms <= self.keepalive_min_ms:
            raise ValueError("keepalive_max_ms must be above keepalive_min_ms")
        if self.silence_ms <= self.keepalive_max_ms + self.keepalive_answer_ms:
            raise ValueError("silence_ms must be above keepalive_max_ms + keepalive_answer_ms")
        return self


class ConnectorSettings(ProcessorSettings):
    """`standby` keeps the state of partitions that other connectors own in memory, for faster take-overs."""

    slot: Slot = "connector-1"
    standby: bool = False
    host_binary: Path = Path("build/bin/wharf-host")
    supervision: SupervisionSettings = SupervisionSettings()


class LimiterSettings(ProcessorSettings):
    """`interval_ms` is the least distance between two messages of an instance whose limits are `default`;
    `unknown_grace_ms` how long a command waits for an instance that is not known yet."""

    slot: Slot = "limiter-1"
    interval_ms: Annotated[int, Field(ge=0, le=3_600_000)] = 200
    unknown_grace_ms: Annotated[int, Field(ge=0, le=600_000)] = 5_000


class RegistrarSettings(ProcessorSettings):
    """`deleted_retention_hours` is how long a deleted instance keeps its record, for connectors that were away."""

    slot: Slot = "registrar-1"
    deleted_retention_hours: Annotated[int, Field(ge=1, le=8_760)] = 168


class SinkSettings(ProcessorSettings):
    """A batch of a partition is inserted when it has `batch_records` or is `batch_ms` old; an insert costs ClickHouse some 40 ms
    of a processor however small it is, so longer batches spare a small machine. `buffer_mb` of records wait at most; in memory
    they are about twice that."""

    slot: Slot = "sink-1"
    batch_records: Annotated[int, Field(ge=1, le=200_000)] = 50_000
    batch_ms: Annotated[int, Field(ge=10, le=60_000)] = 2_000
    buffer_mb: Annotated[int, Field(ge=4, le=16_384)] = 64


class TelemetrySettings(Section):
    host: Literal["127.0.0.1", "::1", "localhost"] = "127.0.0.1"
    port: Port = 0
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "console"] = "json"


class Settings(BaseSettings):
    model_config = SettingsConfigDict(extra="forbid", frozen=True, validate_default=True)

    kafka: KafkaSettings = KafkaSettings()
    registry: RegistrySettings = RegistrySettings()
    clickhouse: ClickHouseSettings = ClickHouseSettings()
    simulator: SimulatorSettings = SimulatorSettings()
    connector: ConnectorSettings = ConnectorSettings()
    limiter: LimiterSettings = LimiterSettings()
    registrar: RegistrarSettings = RegistrarSettings()
    sink: SinkSettings = SinkSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    data_dir: Path = Path("data")
    # Key-encryption keys and the message-id secret; `keys` (the file's JSON) wins over the file.
    keys_file: Path | None = None
    keys: SecretStr | None = None

    @property
    def keys_path(self) -> Path:
        return self.keys_file if self.keys_file is not None else self.data_dir / "keys.json"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)


class _GivenEnvironment(EnvSettingsSource):
    """pydantic-settings' reader of environment variables over a mapping instead of the process's environment."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = {name.lower(): value for name, value in environ.items()}
        super().__init__(Settings, env_prefix=PREFIX, env_nested_delimiter=DELIMITER, case_sensitive=False)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return self._environ


def setting_names(model: type[BaseModel] = Settings, base: str = "") -> list[str]:
    """Every setting as `section.name`."""
    names: list[str] = []
    for name, info in model.model_fields.items():
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            names += setting_names(info.annotation, f"{base}{name}.")
        else:
            names.append(base + name)
    return names


def env_name(setting: str) -> str:
    """The environment variable of a setting: `kafka.prefix` is `WHARF_KAFKA__PREFIX`."""
    return PREFIX + setting.replace(".", DELIMITER).upper()


def _nearest(name: str, valid: list[str]) -> str:
    close = difflib.get_close_matches(name, valid, n=1, cutoff=0.0)
    return f"; the nearest valid name is {close[0]}" if close else ""


def _unknown_env(environ: Mapping[str, str]) -> list[str]:
    valid = [env_name(name) for name in setting_names()]
    return [
        f"{name}: unknown setting{_nearest(name, [*valid, *NOT_SETTINGS])}"
        for name in sorted(environ)
        if name.startswith(PREFIX)
        and name not in valid
        and name not in NOT_SETTINGS
        and not name.startswith(NOT_SETTINGS_PREFIXES)
    ]


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except OSError as cause:
        raise SettingsError("config.invalid", f"{path}: {cause.strerror}") from cause
    except tomllib.TOMLDecodeError as cause:
        raise SettingsError("config.invalid", f"{path}: {cause}") from cause


def _merge(low: dict[str, Any], high: dict[str, Any]) -> dict[str, Any]:
    out = dict(low)
    for name, value in high.items():
        below = out.get(name)
        out[name] = _merge(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return out


def _problems(cause: ValidationError, environ: Mapping[str, str], path: Path | None) -> list[str]:
    valid = setting_names()
    out = []
    for item in cause.errors(include_url=False, include_input=False):
        name = ".".join(str(part) for part in item["loc"])
        source = env_name(name) if env_name(name) in environ else f"{name} in {path}" if path else name
        if item["type"] == "extra_forbidden":
            out.append(f"{source}: unknown setting{_nearest(name, valid)}")
        else:
            out.append(f"{source}: {item['msg']}")
    return out


def load_settings(environ: Mapping[str, str] | None = None, directory: Path | None = None) -> Settings:
    """Settings of this process, or one SettingsError that names everything that is wrong."""
    environ = os.environ if environ is None else environ
    directory = Path.cwd() if directory is None else directory
    unknown = _unknown_env(environ)
    named = environ.get("WHARF_CONFIG")
    path = Path(named) if named else directory / "wharf.toml"
    read = named is not None or path.exists()
    file_values = _read_toml(path) if read else {}
    try:
        settings = Settings(**_merge(file_values, _GivenEnvironment(environ)() if not unknown else {}))
    except ValidationError as cause:
        problems = unknown + _problems(cause, environ, path if read else None)
        raise SettingsError("config.invalid", "; ".join(problems)) from cause
    if unknown:
        raise SettingsError("config.invalid", "; ".join(unknown))
    return settings
