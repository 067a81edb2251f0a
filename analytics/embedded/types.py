"""How a column's values lie in a Native block, from the name of its type. A type is parsed, never guessed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from analytics.embedded.errors import NOT_IMPLEMENTED, UNKNOWN_TYPE, ServerError

MAX_DEPTH = 20
MAX_NAME = 1 << 16
# Longer ones are parsed each time: what is kept is bounded.
_SHORT = 1 << 9


@dataclass(frozen=True, slots=True)
class Fixed:
    size: int


@dataclass(frozen=True, slots=True)
class Text:
    pass


@dataclass(frozen=True, slots=True)
class Nullable:
    inner: Shape


@dataclass(frozen=True, slots=True)
class Array:
    inner: Shape


@dataclass(frozen=True, slots=True)
class Tuple:
    inner: tuple[Shape, ...]


@dataclass(frozen=True, slots=True)
class LowCardinality:
    inner: Shape


Shape = Fixed | Text | Nullable | Array | Tuple | LowCardinality

_SIZES = {
    1: ("UInt8", "Int8", "Bool", "Enum8", "Nothing"),
    2: ("UInt16", "Int16", "Date", "Enum16", "BFloat16"),
    4: ("UInt32", "Int32", "Float32", "Date32", "DateTime", "IPv4", "Time", "Decimal32"),
    8: ("UInt64", "Int64", "Float64", "DateTime64", "Time64", "Decimal64"),
    16: ("UUID", "IPv6", "UInt128", "Int128", "Decimal128"),
    32: ("UInt256", "Int256", "Decimal256"),
}
_FIXED = {name: Fixed(size) for size, names in _SIZES.items() for name in names}
# Geometry is made of these.
_POINT = Tuple((Fixed(8), Fixed(8)))
_ALIASES: dict[str, Shape] = {
    "String": Text(),
    "Point": _POINT,
    "Ring": Array(_POINT),
    "LineString": Array(_POINT),
    "Polygon": Array(Array(_POINT)),
    "MultiLineString": Array(Array(_POINT)),
    "MultiPolygon": Array(Array(Array(_POINT))),
}
REFUSED = frozenset({"JSON", "Object", "Variant", "Dynamic", "AggregateFunction"})


def _unknown(name: str) -> ServerError:
    return ServerError(UNKNOWN_TYPE, f"unknown data type {name[:100]!r}")


class _Parser:
    """Recursive descent over a type name: a word, then perhaps arguments in parentheses."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.pos = 0

    def spaces(self) -> None:
        while self.pos < len(self.text) and self.text[self.pos] == " ":
            self.pos += 1

    def peek(self) -> str:
        self.spaces()
        return self.text[self.pos : self.pos + 1]

    def word(self) -> str:
        self.spaces()
        start = self.pos
        while self.pos < len(self.text) and (self.text[self.pos].isalnum() or self.text[self.pos] == "_"):
            self.pos += 1
        return self.text[start : self.pos]

    def quoted(self, quote: str) -> None:
        self.pos += 1
        while self.pos < len(self.text):
            char = self.text[self.pos]
            self.pos += 2 if char == "\\" else 1
            if char == quote:
                return
        raise _unknown(self.text)

    def expect(self, char: str) -> None:
        if self.peek() != char:
            raise _unknown(self.text)
        self.pos += 1

    def skip_arguments(self) -> list[str]:
        """The raw arguments of a type whose values do not depend on more than their text."""
        out: list[str] = []
        start, depth = self.pos, 0
        while self.pos < len(self.text):
            char = self.text[self.pos]
            if char in "'`":
                self.quoted(char)
                continue
            if char == ")" and depth == 0:
                return [*out, self.text[start : self.pos].strip()]
            if char == "," and depth == 0:
                out.append(self.text[start : self.pos].strip())
                start = self.pos + 1
            depth += (char == "(") - (char == ")")
            self.pos += 1
        raise _unknown(self.text)

    def type(self, depth: int) -> Shape:
        if depth > MAX_DEPTH:
            raise ServerError(UNKNOWN_TYPE, f"a data type is nested deeper than {MAX_DEPTH}")
        name = self.word()
        if name in REFUSED:
            raise ServerError(NOT_IMPLEMENTED, f"blocks with columns of type {name} are not implemented by this server")
        has_arguments = self.peek() == "("
        if has_arguments:
            self.pos += 1
            shape = self.parametric(name, depth + 1)
            self.expect(")")
            return shape
        if name.startswith("Interval"):
            return Fixed(8)
        plain = _FIXED.get(name) or _ALIASES.get(name)
        if plain is None:
            raise _unknown(self.text)
        return plain

    def parametric(self, name: str, depth: int) -> Shape:
        match name:
            case "Nullable":
                return Nullable(self.type(depth))
            case "Array":
                return Array(self.type(depth))
            case "LowCardinality":
                return LowCardinality(self.type(depth))
            case "Map":
                key = self.type(depth)
                self.expect(",")
                return Array(Tuple((key, self.type(depth))))
            case "Tuple":
                return Tuple(self.elements(depth))
            case "Nested":
                return Array(Tuple(self.elements(depth)))
            case "SimpleAggregateFunction":
                self.aggregate_name()
                return self.type(depth)
        arguments = self.skip_arguments()
        if name == "FixedString" and arguments[0].isdigit():
            return Fixed(int(arguments[0]))
        if name == "Decimal" and arguments[0].isdigit():
            precision = int(arguments[0])
            return Fixed(4 if precision < 10 else 8 if precision < 19 else 16 if precision < 39 else 32)
        plain = _FIXED.get(name)
        if plain is None:
            raise _unknown(self.text)
        return plain

    def aggregate_name(self) -> None:
        """`sum,` or `groupArrayArray(100),` before the type."""
        self.word()
        if self.peek() == "(":
            self.pos += 1
            self.skip_arguments()
            self.expect(")")
        self.expect(",")

    def elements(self, depth: int) -> tuple[Shape, ...]:
        """`String, b UInt8, \\`c d\\` Array(UInt8)`: an element may have a name."""
        out = []
        while self.peek() != ")":
            if self.peek() == "`":
                self.quoted("`")
            else:
                start = self.pos
                self.word()
                if self.peek() in (",", ")", "("):
                    self.pos = start
            out.append(self.type(depth))
            if self.peek() == ",":
                self.pos += 1
        return tuple(out)


def shape(name: str) -> Shape:
    """The layout of a type's values; a type that cannot be carried is refused with its name."""
    return _known(name) if len(name) <= _SHORT else _parsed(name)


def _parsed(name: str) -> Shape:
    if len(name) > MAX_NAME:
        raise _unknown(name)
    parser = _Parser(name)
    found = parser.type(0)
    if parser.peek():
        raise _unknown(name)
    return found


_known = lru_cache(4096)(_parsed)
