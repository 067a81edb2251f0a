"""Who may do what: a writer who may do everything the engine can, and a reader who reads within limits.

The engine enforces the reader's limits itself: they are set, then `readonly = 1` is, which nothing in the session undoes.
"""

from __future__ import annotations

import hmac
import math
from dataclasses import dataclass, field

from analytics.embedded import cache
from analytics.embedded.errors import AUTHENTICATION_FAILED, READONLY, Denied, ServerError
from core.settings import ClickHouseSettings

# What a reader may set with a query, besides lowering its limits: how the result looks and how fast it comes.
_FREE_PREFIXES = ("output_format_", "format_", "date_time_output", "send_progress_", "http_")
# Of those, what names a file to be read or written, or a server to be asked.
_REACHING = ("schema", "template", "registry", "confluent", "path", "file", "url")
_FREE = frozenset(
    {
        "connect_timeout",
        "date_time_input_format",
        "extremes",
        "join_use_nulls",
        "log_comment",
        "log_queries",
        "max_block_size",
        "receive_timeout",
        "send_logs_level",
        "send_timeout",
        "session_timezone",
        "use_client_time_zone",
    }
)
# Not for the engine: every reader is read-only, and the cache is ours.
_NOT_PASSED_ON = cache.SETTINGS | {"readonly"}
# Nothing that reaches beyond the tables: these table functions only compute.
HARMLESS_TABLE_FUNCTIONS = frozenset(
    {
        "format",
        "generate_series",
        "generateseries",
        "merge",
        "null",
        "numbers",
        "numbers_mt",
        "primes",
        "sqlstandardvalues",
        "values",
        "view",
        "zeros",
        "zeros_mt",
    }
)
# Ordinary functions that read files, write logs or show what is not in tables; all that begin with "ai" ask a server.
_FUNCTIONS = frozenset(
    {"catboostevaluate", "evalmlmethod", "file", "getclienthttpheader", "logtrace", "showcertificate"}
)
# Threads of one query of a reader.
_MOST_THREADS = 16


def reaches_beyond(function: str) -> bool:
    """Whether an ordinary function does more than compute from its arguments and the tables."""
    return function.lower() in _FUNCTIONS or function.lower().startswith("ai")


@dataclass(frozen=True, slots=True)
class Account:
    name: str
    is_reader: bool = False
    limits: dict[str, int] = field(default_factory=dict)

    def session_settings(self, wanted: dict[str, str]) -> dict[str, str]:
        """What is set for a query: the client's own settings, for a reader within its limits and read-only."""
        if not self.is_reader:
            return wanted
        out = {name: str(most) for name, most in self.limits.items()}
        out |= {"result_overflow_mode": "throw", "read_overflow_mode": "throw", "timeout_overflow_mode": "throw"}
        for name, value in wanted.items():
            if name in self.limits:
                out[name] = str(_lower(name, value, self.limits[name]))
            elif name == "max_threads":
                out[name] = str(_lower(name, value, _MOST_THREADS))
            elif _is_free(name):
                out[name] = value
            elif name not in _NOT_PASSED_ON:
                raise Denied(READONLY, f"Cannot modify '{name}' setting in readonly mode. (READONLY)")
        return {**out, "readonly": "1"}


def _is_free(name: str) -> bool:
    if name.startswith("param_") or name in _FREE:
        return True
    return name.startswith(_FREE_PREFIXES) and not any(part in name for part in _REACHING)


def _lower(name: str, value: str, most: int) -> int:
    """A limit may be lowered; 0 is ClickHouse's word for none."""
    try:
        wanted = math.ceil(float(value))
    except (ValueError, OverflowError) as cause:
        raise Denied(READONLY, f"{name} is {value[:40]!r}, which is no number") from cause
    return min(wanted, most) if wanted > 0 else most


class Accounts:
    def __init__(self, settings: ClickHouseSettings) -> None:
        limits = {
            "max_execution_time": settings.reader_max_seconds,
            "max_memory_usage": settings.reader_max_memory_bytes,
            "max_result_rows": settings.reader_max_result_rows,
            "max_rows_to_read": settings.reader_max_rows_to_read,
        }
        self.reader = settings.reader_user
        self._known = {
            settings.user: (Account(settings.user), settings.password.get_secret_value()),
            settings.reader_user: (
                Account(settings.reader_user, is_reader=True, limits=limits),
                settings.reader_password.get_secret_value(),
            ),
        }

    def authenticate(self, user: str, password: str) -> Account:
        account, expected = self._known.get(user, (None, ""))
        # Compared for unknown users too, so that both take the same time.
        matches = hmac.compare_digest(password.encode("utf-8", "replace"), expected.encode())
        if account is None or not matches:
            raise ServerError(
                AUTHENTICATION_FAILED,
                f"{user[:100]}: Authentication failed: password is incorrect, or there is no user with such name."
                " (AUTHENTICATION_FAILED)",
            )
        return account
