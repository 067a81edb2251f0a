"""What a statement is, as far as the server must know before the engine reads it: its kind, the parts of an INSERT,
a FORMAT at its end, and what is refused. Words are told from texts and comments by a lexer that follows ClickHouse's.

SQL is looked at as latin-1, so that positions are bytes; outside of quotes only ASCII means something.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from analytics.embedded.errors import NOT_IMPLEMENTED, SYNTAX_ERROR, Denied, ServerError

_WORD = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_$")
# Newer ClickHouse takes typographic quotes (UTF-8, here as latin-1) for quotes.
_TYPOGRAPHIC = ("\xe2\x80\x98", "\xe2\x80\x99", "\xe2\x80\x9c", "\xe2\x80\x9d")


class Kind(Enum):
    SELECT = "select"  # rows, streamed
    SHOW = "show"  # rows, all at once
    INSERT = "insert"  # followed by blocks
    OTHER = "other"  # no rows; an INSERT with its data or SELECT is one


@dataclass(frozen=True, slots=True)
class Token:
    """`text` of a quoted identifier is without its quotes, of a string or number only its mark."""

    kind: str  # word, name (quoted), string, other
    text: str
    start: int
    end: int

    def is_word(self, *words: str) -> bool:
        return self.kind == "word" and self.text.upper() in words

    def is_sign(self, sign: str) -> bool:
        return self.kind == "other" and self.text == sign


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


def tokens(sql: str) -> Iterator[Token]:
    """Words, quoted names, strings, signs; comments and spaces are left out. An open quote ends at the end."""
    pos, size = 0, len(sql)
    while pos < size:
        char = sql[pos]
        start = pos
        if char in _WORD:
            pos = _heredoc_end(sql, pos) if char == "$" else pos
            if pos > start:
                yield Token("string", "", start, pos)
                continue
            while pos < size and sql[pos] in _WORD:
                pos += 1
            yield Token("word", sql[start:pos], start, pos)
        elif char in "'`\"":
            pos = _quote_end(sql, pos)
            yield Token("string" if char == "'" else "name", sql[start + 1 : pos - 1], start, pos)
        elif (after := _comment_end(sql, pos)) > pos:
            pos = after
        else:
            pos += 1
            if sql[start : start + 3] in _TYPOGRAPHIC:
                yield Token("other", "quote", start, pos)
            elif char.isascii() and not char.isspace() and char != "\0":
                yield Token("other", char, start, pos)


def _heredoc_end(sql: str, pos: int) -> int:
    """The end of `$tag$…$tag$`, or `pos` when there is none."""
    mark = pos + 1
    while mark < len(sql) and sql[mark] in _WORD and sql[mark] != "$":
        mark += 1
    if sql[mark : mark + 1] != "$":
        return pos
    tag = sql[pos : mark + 1]
    closing = sql.find(tag, mark + 1)
    return closing + len(tag) if closing >= 0 else pos


def _quote_end(sql: str, pos: int) -> int:
    """After the closing quote; a backslash and a doubled quote keep it open."""
    quote, size = sql[pos], len(sql)
    pos += 1
    while pos < size:
        if sql[pos] == "\\":
            pos += 2
        elif sql[pos] != quote:
            pos += 1
        elif sql[pos + 1 : pos + 2] == quote:
            pos += 2
        else:
            return pos + 1
    return size


def _comment_end(sql: str, pos: int) -> int:
    if sql.startswith("/*", pos):
        closing = sql.find("*/", pos + 2)
        return len(sql) if closing < 0 else closing + 2
    if sql.startswith(("--", "# ", "#!"), pos):
        closing = sql.find("\n", pos)
        return len(sql) if closing < 0 else closing + 1
    return pos


_SELECTS = ("SELECT", "WITH", "FROM")
_SHOWS = ("SHOW", "DESCRIBE", "DESC", "EXPLAIN", "EXISTS", "CHECK", "KILL", "BACKUP", "RESTORE")
_ACCESS = ("USER", "ROLE", "QUOTA", "ROW", "SETTINGS", "MASKING")
_NEVER_BEFORE_FORMAT = ("AS", "FROM", "JOIN", "SELECT")


def parse(sql: str) -> Statement:
    """The statement's kind and parts. Refuses at once what the engine would do wrongly or not at all."""
    found = tokens(sql)
    first = next(found, None)
    if first is None:
        return Statement(Kind.OTHER, sql, "")
    if first.is_word("INSERT"):
        return _insert(sql, found)
    all_tokens = [first, *found]
    _refuse(all_tokens)
    opening = next((token for token in all_tokens if not token.is_sign("(")), first)
    bare, format_name = _cut_format(sql, all_tokens)
    if opening.is_word(*_SELECTS):
        return Statement(Kind.SELECT, bare, format_name)
    if first.is_word(*_SHOWS):
        return Statement(Kind.SHOW, bare, format_name)
    return Statement(Kind.OTHER, bare, format_name)


def _refuse(found: list[Token]) -> None:
    first = found[0]
    for token, after in zip(found, [*found[1:], None], strict=True):
        if after is None:
            break
        if token.is_word("WITH") and after.is_word("TOTALS"):
            raise ServerError(NOT_IMPLEMENTED, "WITH TOTALS is not implemented by this server: its row would be lost")
        if (token.is_word("INTO") and after.is_word("OUTFILE")) or (token.is_word("FROM") and after.is_word("INFILE")):
            raise ServerError(NOT_IMPLEMENTED, "INTO OUTFILE and FROM INFILE are the client's to do, not the server's")
    if len(found) < 2:
        return
    second = found[3] if len(found) > 3 and found[1].is_word("OR") else found[1]
    if (first.is_word("CREATE", "ALTER", "DROP") and second.is_word(*_ACCESS)) or first.is_word("GRANT", "REVOKE"):
        raise ServerError(
            NOT_IMPLEMENTED, "users and grants are not implemented by this server: it has the two of its settings"
        )
    if first.is_word("WATCH"):
        raise ServerError(NOT_IMPLEMENTED, "WATCH is not implemented by this server")


def _cut_format(sql: str, found: list[Token]) -> tuple[str, str]:
    """The statement without `FORMAT name` and what ends it, and that name."""
    last = len(found)
    while last and found[last - 1].is_sign(";"):
        last -= 1
    end = found[last - 1].end if last else 0
    for at in range(last - 2, 0, -1):
        token, after, before = found[at], found[at + 1], found[at - 1]
        if not token.is_word("FORMAT") or after.kind != "word":
            continue
        if before.is_word(*_NEVER_BEFORE_FORMAT) or (before.kind == "other" and before.text in ".,("):
            continue
        if at + 2 == last:
            return sql[: token.start], after.text
        if found[at + 2].is_word("SETTINGS"):
            return sql[: token.start] + sql[after.end : end], after.text
    return sql[:end], ""


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
            return Statement(Kind.OTHER, sql, "")
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
            return Statement(Kind.OTHER, sql, "")
        format_name, data = name.text, name.end
    elif token is not None and not token.is_sign(";"):
        _refuse([token, *found])
        return Statement(Kind.OTHER, sql, "")
    into, settings = _as_utf8(sql[:end]), _as_utf8(sql[end:settings_end])
    insert = Insert(target, is_function, columns, into, settings.strip(), format_name, data)
    return Statement(Kind.INSERT, sql, format_name, insert)


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
    """The data that stand behind an INSERT, without what parts them from it and, of VALUES, without a semicolon."""
    data = sql[insert.data :]
    if insert.format.upper() == "VALUES":
        return data.strip(" \t\r\n;").encode("latin-1")
    for separator in ("\r\n", "\n", " "):
        if data.startswith(separator):
            return data[len(separator) :].encode("latin-1")
    return data.encode("latin-1")


_READS = ("SELECT", "WITH", "FROM", "SHOW", "DESCRIBE", "DESC", "EXPLAIN", "EXISTS", "USE")


def check_reader(sql: str, refused_functions: frozenset[str]) -> None:
    """A reader's statement reads, and calls nothing that reaches beyond the tables (files, other servers)."""
    found = list(tokens(sql))
    opening = next((token for token in found if not token.is_sign("(")), None)
    if opening is None:
        return
    if not opening.is_word(*_READS):
        raise Denied(164, f"this user may only read: {opening.text[:40]} is not allowed (READONLY)")
    for token, after in zip(found, [*found[1:], None], strict=True):
        if token.is_sign("quote"):
            raise Denied(164, "typographic quotes are not accepted from this user: write ' or ` or \" (READONLY)")
        if after is None or not after.is_sign("("):
            continue
        if token.kind in ("word", "name") and token.text.lower() in refused_functions:
            raise Denied(164, f"this user may only read tables: {token.text[:60]}() is not allowed (READONLY)")
