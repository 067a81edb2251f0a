"""What a reader's statement may be. The engine's `readonly = 1` keeps it from changing anything and from table functions;
what that lets pass is refused here: functions that read files or ask servers, and ways to call them by another name. What
writes is refused here, too, before the server gets ready for a write.
"""

from __future__ import annotations

from dataclasses import dataclass

from analytics.embedded.errors import READONLY, Denied
from analytics.embedded.lexer import Token, tokens
from analytics.embedded.statements import is_insertion, one_statement


@dataclass(frozen=True, slots=True)
class Beyond:
    """Names, in small letters, of what reaches beyond the tables: table functions and ordinary functions."""

    table_functions: frozenset[str]
    functions: frozenset[str]


_READS = ("SELECT", "WITH", "FROM", "SHOW", "DESCRIBE", "DESC", "EXPLAIN", "EXISTS", "USE")


def check_reader(sql: str, beyond: Beyond) -> None:
    """A reader's statement reads, and calls nothing that reaches beyond the tables (files, other servers)."""
    opening = before = None
    depth = 0
    for token in one_statement(tokens(sql)):
        if opening is None and not token.is_sign("("):
            opening = token
            if not token.is_word(*_READS):
                raise Denied(READONLY, f"this user may only read: {token.text[:40]} is not allowed (READONLY)")
        if depth == 0 and before is not None and is_insertion(before, token):
            raise Denied(READONLY, "this user may only read: INSERT INTO is not allowed (READONLY)")
        depth += token.is_sign("(") - token.is_sign(")")
        _check_token(token, before, beyond)
        before = token


def _check_token(token: Token, before: Token | None, beyond: Beyond) -> None:
    if token.is_sign("quote"):
        raise Denied(READONLY, "typographic quotes are not accepted from this user: write ' or ` or \" (READONLY)")
    if token.is_word("IDENTIFIER") and before is not None and before.is_sign(":"):
        raise Denied(READONLY, "parameters of type Identifier are not accepted from this user (READONLY)")
    if token.kind == "name" and "\\" in token.text:
        raise Denied(READONLY, "names with a backslash are not accepted from this user (READONLY)")
    behind_a_point = before is not None and before.is_sign(".")
    # Also without a parenthesis: APPLY and arrayMap take a function's name.
    if _is_one_of(token, beyond.functions) and not behind_a_point:
        raise Denied(
            READONLY,
            f"this user may only read tables: the function {token.text[:60]} is not allowed; a column of that name is"
            " written with its table, as in t.name (READONLY)",
        )
    if token.is_sign("(") and before is not None and _is_one_of(before, beyond.table_functions):
        text = f"this user may only read tables: {before.text[:60]}() is not allowed (READONLY)"
        raise Denied(READONLY, text)


def _is_one_of(token: Token, names: frozenset[str]) -> bool:
    return token.kind in ("word", "name") and token.text.lower() in names
