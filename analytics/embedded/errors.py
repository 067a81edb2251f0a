"""Failures as ClickHouse tells them: a numeric code and a text. Codes are ClickHouse's own, clients act on them.

ServerError       told to the client; the connection goes on
├─ ProtocolError  what came is no packet we know; told, then the connection is closed
└─ Denied         who asks may not
Disconnected      the peer is gone; nobody to tell
"""

from __future__ import annotations

from typing import Final

SYNTAX_ERROR: Final = 62
BAD_ARGUMENTS: Final = 36
CANNOT_READ_ALL_DATA: Final = 33
CHECKSUM_DOESNT_MATCH: Final = 40
NOT_IMPLEMENTED: Final = 48
UNKNOWN_TYPE: Final = 50
UNKNOWN_TABLE: Final = 60
NO_SUCH_DATA_PART: Final = 232
NOT_ENOUGH_SPACE: Final = 243
UNEXPECTED_PACKET: Final = 101
NO_SUCH_COLUMN: Final = 16
UNKNOWN_SETTING: Final = 115
TIMEOUT_EXCEEDED: Final = 159
READONLY: Final = 164
TOO_MANY_CONNECTIONS: Final = 202
SOCKET_TIMEOUT: Final = 209
MEMORY_LIMIT_EXCEEDED: Final = 241
UNKNOWN_FORMAT: Final = 73
TOO_MANY_ROWS_OR_BYTES: Final = 396
UNKNOWN_CODEC: Final = 432
QUERY_WAS_CANCELLED: Final = 394
AUTHENTICATION_FAILED: Final = 516
ABORTED: Final = 236
STD_EXCEPTION: Final = 1001
TABLE_EXISTS: Final = 57
DATABASE_EXISTS: Final = 82
UNKNOWN_DATABASE: Final = 81
UNKNOWN_FUNCTION: Final = 46
UNKNOWN_IDENTIFIER: Final = 47
ACCESS_DENIED: Final = 497
# Said of a statement before anything of it is done.
REFUSALS: Final = frozenset(
    {
        SYNTAX_ERROR,
        TABLE_EXISTS,
        DATABASE_EXISTS,
        UNKNOWN_TABLE,
        UNKNOWN_DATABASE,
        UNKNOWN_FUNCTION,
        UNKNOWN_IDENTIFIER,
        UNKNOWN_TYPE,
        UNKNOWN_SETTING,
        UNKNOWN_FORMAT,
        NO_SUCH_COLUMN,
        READONLY,
        ACCESS_DENIED,
    }
)

_CODE = "Code: "
_EXCEPTION = "DB::Exception: "


class ServerError(Exception):
    """`code` and `message` go to the client as they are."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"Code: {code}. DB::Exception: {message}")
        self.code = code
        self.message = message


class ProtocolError(ServerError):
    def __init__(self, message: str, code: int = UNEXPECTED_PACKET) -> None:
        super().__init__(code, message)


class Denied(ServerError):
    """Not allowed for this user."""


class Disconnected(Exception):
    """The peer closed the connection, or we are closing it."""


def from_engine(error: Exception) -> ServerError:
    """chDB's exceptions carry ClickHouse's code in their text, after what chDB was doing."""
    text = str(error)
    start = text.find(_CODE)
    if start < 0:
        return ServerError(STD_EXCEPTION, text)
    digits, _, rest = text[start + len(_CODE) :].partition(".")
    if not digits.isdigit():
        return ServerError(STD_EXCEPTION, text)
    return ServerError(int(digits), rest.strip().removeprefix(_EXCEPTION))
