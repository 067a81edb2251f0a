"""ClickHouse's tokens. What we take for a quote or a comment must be one for the engine too, or a statement could hide in
it: so this follows ClickHouse's Lexer.cpp in everything that decides where a token ends.

SQL is looked at as latin-1, so that positions are bytes; outside of quotes only ASCII means something.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_WORD = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")
_DIGITS = frozenset("0123456789")
_SPACES = frozenset(" \t\n\r\f\v")
# Newer ClickHouse takes typographic quotes (UTF-8, here as latin-1) for quotes.
_TYPOGRAPHIC = ("\xe2\x80\x98", "\xe2\x80\x99", "\xe2\x80\x9c", "\xe2\x80\x9d")
# U+2212 is a minus, too.
_MINUS = "\xe2\x88\x92"
# Where a number ends: digits with underscores between them, a fraction, an exponent whose sign may have no digits behind
# it (`1e--2` is `1e-` and `-2`, no comment). Word characters that follow belong to it, a `$` does not.
_DECIMAL = r"[0-9](?:[0-9]|_(?=[0-9]))*"
_HEX = r"[0-9a-fA-F](?:[0-9a-fA-F]|_(?=[0-9a-fA-F]))*"
_EXPONENT = rf"(?=.)(?:[-+](?=.))?(?:{_DECIMAL})?"
_NUMBER: Final = re.compile(
    rf"(?:0[xX]{_HEX}(?:\.(?:{_HEX})?)?(?:[pP]{_EXPONENT})?"
    rf"|(?:0[bB](?=[01])(?:{_DECIMAL})|{_DECIMAL})(?:\.(?:{_DECIMAL})?)?(?:[eE]{_EXPONENT})?)([0-9A-Za-z_]*)",
    re.DOTALL,
)
_AFTER_DOT: Final = re.compile(rf"{_DECIMAL}([0-9A-Za-z_]*)")
_FRACTION: Final = re.compile(rf"\.(?:{_DECIMAL})?(?:[eE]{_EXPONENT})?", re.DOTALL)
_BINARY: Final = re.compile(r"[xX]'[0-9a-fA-F]*'|[bB]'[01]*'")
_COMMENT_MARK: Final = re.compile(r"/\*|\*/")


@dataclass(frozen=True, slots=True)
class Token:
    """`text` of a quoted identifier is without its quotes, of a string it is empty."""

    kind: str  # word, name (quoted), string, number, other
    text: str
    start: int
    end: int

    def is_word(self, *words: str) -> bool:
        return self.kind == "word" and self.text.upper() in words

    def is_sign(self, sign: str) -> bool:
        return self.kind == "other" and self.text == sign


def tokens(sql: str) -> Iterator[Token]:
    """Words, quoted names, strings, numbers, signs; comments and spaces are left out. What is open ends at the end."""
    pos, size = 0, len(sql)
    before: Token | None = None
    while pos < size:
        if (char := sql[pos]) in _SPACES:
            pos += 1
        elif char in "/-#" and (after := _comment_end(sql, pos)) > pos:
            pos = after
        else:
            token = _token(sql, pos, before)
            pos = token.end
            # Without text: spaces of other alphabets, bytes that mean nothing.
            if token.kind != "other" or token.text:
                before = token
                yield token


def _token(sql: str, pos: int, before: Token | None) -> Token:
    char = sql[pos]
    if char in "'`\"":
        end = _quote_end(sql, pos)
        return Token("string", "", pos, end) if char == "'" else Token("name", sql[pos + 1 : end - 1], pos, end)
    if char in _DIGITS:
        found = (_AFTER_DOT if before is not None and before.is_sign(".") else _NUMBER).match(sql, pos)
        assert found is not None
        # A name may begin with digits.
        return Token("word" if found[1] else "number", found[0], pos, found.end())
    if char == "." and _begins_number(sql, pos, before):
        found = _FRACTION.match(sql, pos)
        assert found is not None
        return Token("number", found[0], pos, found.end())
    if char == "$" and (end := _heredoc_end(sql, pos)) > pos:
        return Token("string", "", pos, end)
    if char in "xXbB" and sql.startswith("'", pos + 1) and pos + 2 < len(sql):
        found = _BINARY.match(sql, pos)
        return Token("string", "", pos, found.end() if found else len(sql))
    if char in _WORD or (char == "$" and sql[pos + 1 : pos + 2] in _WORD):
        end = pos + 1
        while end < len(sql) and (sql[end] in _WORD or sql[end] == "$"):
            end += 1
        return Token("word", sql[pos:end], pos, end)
    if sql.startswith(_MINUS, pos):
        return Token("other", "-", pos, pos + len(_MINUS))
    if sql.startswith("\\G", pos):
        return Token("other", "\\G", pos, pos + 2)
    if sql[pos : pos + 3] in _TYPOGRAPHIC:
        return Token("other", "quote", pos, pos + 1)
    means_something = char.isascii() and char != "\0"
    return Token("other", char if means_something else "", pos, pos + 1)


def _begins_number(sql: str, pos: int, before: Token | None) -> bool:
    """`.5`, unless the point stands behind what it can belong to (`x.1`)."""
    if pos == 0:
        return True
    if sql[pos + 1 : pos + 2] not in _DIGITS:
        return False
    return before is None or not (
        before.kind in ("word", "name", "number") or before.is_sign(")") or before.is_sign("]")
    )


def _heredoc_end(sql: str, pos: int) -> int:
    """The end of `$tag$…$tag$`, or `pos` when there is none."""
    mark = pos + 1
    while mark < len(sql) and sql[mark] in _WORD:
        mark += 1
    if not sql.startswith("$", mark):
        return pos
    tag = sql[pos : mark + 1]
    closing = sql.find(tag, mark + 1)
    return closing + len(tag) if closing >= 0 else pos


def _quote_end(sql: str, pos: int) -> int:
    """After the closing quote; a backslash and a doubled quote keep it open."""
    quote, closing = sql[pos], -1
    pos += 1
    while True:
        if closing < pos:
            closing = sql.find(quote, pos)
            if closing < 0:
                return len(sql)
        escape = sql.find("\\", pos, closing)
        if escape >= 0:
            pos = escape + 2
        elif sql.startswith(quote, closing + 1):
            pos = closing + 2
        else:
            return closing + 1


def _comment_end(sql: str, pos: int) -> int:
    """After the comment that begins here, or `pos`. Those between /* and */ stand in each other."""
    if sql.startswith("/*", pos):
        depth = 1
        for mark in _COMMENT_MARK.finditer(sql, pos + 2):
            depth += 1 if mark[0] == "/*" else -1
            if depth == 0:
                return mark.end()
        return len(sql)
    if sql.startswith(("--", "//", "# ", "#!"), pos):
        closing = sql.find("\n", pos)
        return len(sql) if closing < 0 else closing
    return pos
