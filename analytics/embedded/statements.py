"""What a statement is, as far as the server must know before the engine reads it: its kind, the parts of an INSERT,
a FORMAT at its end, and what is refused. Statements are looked at as latin-1 (analytics.embedded.lexer), token by token:
what is kept of a long one does not grow with it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from analytics.embedded.errors import NOT_IMPLEMENTED, SYNTAX_ERROR, ServerError
from analytics.embedded.lexer import Token, tokens


class Kind(Enum):
    SELECT = "select"  # rows, streamed
    SHOW = "show"  # rows, all at once
    USE = "use"  # no rows; the session's database is another one behind it
    INSERT = "insert"  # followed by blocks
    WRITE = "write"  # no rows; makes some or room for them: CREATE, and an INSERT that has its query
    OTHER = "other"  # no rows


@dataclass(frozen=True, slots=True)
class Insert:
    """`into` is the statement up to its settings, in the text that the engine is given; `settings` the SETTINGS clause;
    `data` is where inline data begin. The other parts are as they stand in the parsed text."""

    target: str
    is_function: bool
    columns: str
    into: str
    settings: str
    format: str
    data: int


@dataclass(frozen=True, slots=True)
class Statement:
    kind: Kind
    # Without FORMAT and semicolon at its end.
    bare: str
    format: str
    insert: Insert | None = None


# What the engine reads of a statement, in bytes, unless max_query_size says otherwise.
MAX_SQL: Final = 1 << 18
_SELECTS = ("SELECT", "WITH", "FROM")
_SHOWS = ("SHOW", "DESCRIBE", "DESC", "EXPLAIN", "EXISTS", "CHECK", "KILL", "BACKUP", "RESTORE")
_ACCESS = ("USER", "ROLE", "QUOTA", "ROW", "SETTINGS", "MASKING")
# Signals to the whole process group.
_ENDS = ("SHUTDOWN", "KILL", "SUSPEND")
_NEVER_BEFORE_FORMAT = ("AS", "FROM", "JOIN", "SELECT")


def parse(sql: str, most: int = MAX_SQL) -> Statement:
    """The statement's kind and parts. Refuses at once what the engine would do wrongly or not at all. `most`: as long may
    it be, without the data of an INSERT."""
    found = _within(most, tokens(sql))
    first = next(found, None)
    if first is None:
        return Statement(Kind.OTHER, sql, "")
    if first.is_word("INSERT"):
        return _insert(sql, found)
    scan = _Scan()
    scan.all([first], found)
    bare, format_name = scan.without_format(sql)
    return Statement(scan.kind(), bare, format_name)


def max_sql(settings: Mapping[str, str]) -> int:
    """How long a statement may be, as its settings say."""
    given = settings.get("max_query_size", "")
    return int(given) if given.isascii() and given.isdigit() and 0 < len(given) < 19 and int(given) else MAX_SQL


def _within(most: int, found: Iterator[Token]) -> Iterator[Token]:
    for token in found:
        if token.end > most:
            text = f"Max query size exceeded (can be increased with the `max_query_size` setting, which is {most} here)"
            raise ServerError(SYNTAX_ERROR, f"Syntax error: {text}. (SYNTAX_ERROR)")
        yield token


def one_statement(found: Iterable[Token]) -> Iterator[Token]:
    """The tokens up to the semicolon, behind which nothing may stand."""
    rest = iter(found)
    for token in rest:
        if token.is_sign(";"):
            if any(not more.is_sign(";") for more in rest):
                raise ServerError(SYNTAX_ERROR, "Syntax error (Multi-statements are not allowed). (SYNTAX_ERROR)")
            return
        yield token


class _Scan:
    """Goes along a statement's tokens, refuses what is not implemented, and remembers how it begins and ends."""

    def __init__(self) -> None:
        self._begins: list[Token] = []
        self._opening: Token | None = None
        self._depth = 0
        self._inserts = False
        self._last: tuple[Token | None, Token | None, Token | None] = (None, None, None)
        self._format: tuple[Token, Token] | None = None

    def all(self, *found: Iterable[Token]) -> None:
        for token in one_statement(itertools.chain(*found)):
            self._add(token)
        _refuse_beginning(self._begins)

    def _add(self, token: Token) -> None:
        before, word, name = self._last
        if name is not None:
            _refuse_pair(name, token)
            self._inserts |= self._depth == 0 and is_insertion(name, token)
        self._depth += token.is_sign("(") - token.is_sign(")")
        if token.is_word("SETTINGS"):
            self._format = _format_in(before, word, name) or self._format
        self._last = (word, name, token)
        if len(self._begins) < 4:
            self._begins.append(token)
        if self._opening is None and not token.is_sign("("):
            self._opening = token

    def kind(self) -> Kind:
        if self._opening is not None and self._opening.is_word(*_SELECTS):
            return Kind.WRITE if self._inserts else Kind.SELECT
        if self._begins and self._begins[0].is_word(*_SHOWS):
            return Kind.SHOW
        if self._begins and self._begins[0].is_word("CREATE"):
            return Kind.WRITE
        return Kind.USE if self._begins and self._begins[0].is_word("USE") else Kind.OTHER

    def without_format(self, sql: str) -> tuple[str, str]:
        """The statement without `FORMAT name` and what ends it, and that name."""
        last = self._last[2]
        end = last.end if last is not None else 0
        if found := _format_in(*self._last):
            return sql[: found[0].start], found[1].text
        if self._format is not None:
            word, name = self._format
            return sql[: word.start] + sql[name.end : end], name.text
        return sql[:end], ""


def is_insertion(before: Token, token: Token) -> bool:
    """Outside of parentheses, this makes an INSERT of what opens otherwise: WITH … INSERT INTO … SELECT."""
    return before.is_word("INSERT") and token.is_word("INTO")


def _format_in(before: Token | None, word: Token | None, name: Token | None) -> tuple[Token, Token] | None:
    """FORMAT and its name, where these three are so."""
    if before is None or word is None or name is None or not word.is_word("FORMAT") or name.kind != "word":
        return None
    if before.is_word(*_NEVER_BEFORE_FORMAT) or (before.kind == "other" and before.text in ".,("):
        return None
    return word, name


def _refuse_pair(token: Token, after: Token) -> None:
    if token.is_word("WITH") and after.is_word("TOTALS"):
        raise ServerError(NOT_IMPLEMENTED, "WITH TOTALS is not implemented by this server: its row would be lost")
    if (token.is_word("INTO") and after.is_word("OUTFILE")) or (token.is_word("FROM") and after.is_word("INFILE")):
        raise ServerError(NOT_IMPLEMENTED, "INTO OUTFILE and FROM INFILE are the client's to do, not the server's")


def _refuse_beginning(found: list[Token]) -> None:
    if len(found) < 2:
        return
    first = found[0]
    second = found[3] if len(found) > 3 and found[1].is_word("OR") else found[1]
    if (first.is_word("CREATE", "ALTER", "DROP") and second.is_word(*_ACCESS)) or first.is_word("GRANT", "REVOKE"):
        raise ServerError(
            NOT_IMPLEMENTED, "users and grants are not implemented by this server: it has the two of its settings"
        )
    if (first.is_word("SET") and second.is_word("ROLE", "DEFAULT")) or (
        first.is_word("EXECUTE") and second.is_word("AS")
    ):
        raise ServerError(NOT_IMPLEMENTED, "roles are not implemented by this server")
    if first.is_word("SYSTEM") and second.is_word(*_ENDS):
        raise ServerError(
            NOT_IMPLEMENTED, f"SYSTEM {second.text.upper()} is not implemented by this server: SIGTERM ends it in order"
        )
    if first.is_word("WATCH"):
        raise ServerError(NOT_IMPLEMENTED, "WATCH is not implemented by this server")


def _insert(sql: str, found: Iterator[Token]) -> Statement:
    """INSERT [INTO] [TABLE] [FUNCTION] target [(columns)] [SETTINGS …] then VALUES, FORMAT, a query or the end.

    The tokens are taken one by one: behind VALUES or FORMAT stand data, which are none.
    """
    token = next(found, None)
    while token is not None and token.is_word("INTO", "TABLE"):
        token = next(found, None)
    is_function = token is not None and token.is_word("FUNCTION")
    if is_function:
        token = next(found, None)
    start, end, token = _target(token, found, is_function)
    target, columns = sql[start:end], ""
    if token is not None and token.is_sign("("):
        opened = token.end
        closing, is_query = _closing(found)
        if closing is None or is_query:
            return _as_a_whole(sql, found)
        columns, end = sql[opened : closing.start].strip(), closing.end
        token = next(found, None)
    settings_end = end
    if token is not None and token.is_word("SETTINGS"):
        while token is not None and not token.is_word("VALUES", "FORMAT", "SELECT", "WITH") and not token.is_sign(";"):
            settings_end = token.end
            token = next(found, None)
    format_name, data = "Values", len(sql)
    if token is not None and token.is_word("VALUES"):
        data = token.end
    elif token is not None and token.is_word("FORMAT"):
        name = next(found, None)
        if name is None or name.kind != "word":
            return _as_a_whole(sql, found)
        format_name, data = name.text, name.end
    elif token is not None:
        whole = _as_a_whole(sql, [token], found)
        if not token.is_sign(";"):
            return whole
    into, settings = _as_utf8(sql[:end]), _as_utf8(sql[end:settings_end])
    insert = Insert(target, is_function, columns, into, settings.strip(), format_name, data)
    return Statement(Kind.INSERT, sql, format_name, insert)


def _as_a_whole(sql: str, *found: Iterable[Token]) -> Statement:
    """An INSERT that the engine gets as it stands: its rows come from a query."""
    _Scan().all(*found)
    return Statement(Kind.WRITE, sql, "")


def _as_utf8(sql: str) -> str:
    try:
        return sql.encode("latin-1").decode()
    except UnicodeDecodeError as cause:
        raise ServerError(SYNTAX_ERROR, f"the query is not UTF-8 at byte {cause.start}") from cause


def _target(token: Token | None, found: Iterator[Token], is_function: bool) -> tuple[int, int, Token | None]:
    """Start and end of `table`, `database.table` or `function(…)`, and the token behind it."""
    if token is None:
        return 0, 0, None
    start, end = token.start, token.end
    behind = next(found, None)
    while behind is not None and behind.is_sign("."):
        part = next(found, None)
        end = part.end if part is not None else behind.end
        behind = next(found, None)
    if is_function and behind is not None and behind.is_sign("("):
        closing, _ = _closing(found)
        end = closing.end if closing is not None else behind.end
        behind = next(found, None)
    return start, end, behind


def _closing(found: Iterator[Token]) -> tuple[Token | None, bool]:
    """The parenthesis that closes the one that is open, and whether a query stands inside."""
    depth, is_query, first = 1, False, True
    for token in found:
        is_query = is_query or (first and token.is_word(*_SELECTS))
        first = False
        depth += token.is_sign("(") - token.is_sign(")")
        if depth == 0:
            return token, is_query
    return None, is_query


def parse_head(sql: str) -> Insert | None:
    """The parts of an INSERT whose data may go on behind `sql`; None for everything else."""
    found = tokens(sql)
    first = next(found, None)
    return _insert(sql, found).insert if first is not None and first.is_word("INSERT") else None


def inline_data(sql: str, insert: Insert) -> bytes:
    """The data that stand behind an INSERT, which begin where ClickHouse says: behind spaces and one end of a line."""
    data = sql[insert.data :]
    if insert.format.upper() == "VALUES":
        return data.encode("latin-1") if data.strip(" \t\r\n;") else b""
    if data.startswith(";"):
        if data.strip(" \t\r\n;"):
            raise ServerError(SYNTAX_ERROR, "Syntax error: data stand behind the semicolon of an INSERT (SYNTAX_ERROR)")
        return b""
    return data.lstrip(" \t\f").removeprefix("\r").removeprefix("\n").encode("latin-1")
