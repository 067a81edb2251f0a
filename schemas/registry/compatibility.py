"""Can data written with one Avro schema be read with another: the resolution rules of the Avro specification.

Pure. `problems(reader, writer)` names every place where it cannot; `check` asks it in the directions and against the
versions that a compatibility level wants.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from schemas.registry.avro_text import PRIMITIVES, full_name, resolve


class Level(StrEnum):
    """Backward: the new schema reads old data. Forward: the old schema reads new data. Transitive: all versions."""

    NONE = "NONE"
    BACKWARD = "BACKWARD"
    BACKWARD_TRANSITIVE = "BACKWARD_TRANSITIVE"
    FORWARD = "FORWARD"
    FORWARD_TRANSITIVE = "FORWARD_TRANSITIVE"
    FULL = "FULL"
    FULL_TRANSITIVE = "FULL_TRANSITIVE"

    @property
    def backward(self) -> bool:
        return self.startswith(("BACKWARD", "FULL"))

    @property
    def forward(self) -> bool:
        return self.startswith(("FORWARD", "FULL"))

    @property
    def transitive(self) -> bool:
        return self.endswith("_TRANSITIVE")


@dataclass(frozen=True, slots=True)
class Problem:
    """`path` leads to the field from the root; `kind` is Avro's word for what is wrong."""

    kind: str
    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path or 'the type itself'}: {self.message} ({self.kind})"


@dataclass(frozen=True, slots=True)
class Conflict:
    """A problem in one direction against one registered version."""

    version: int
    direction: str
    problem: Problem

    def __str__(self) -> str:
        return f"version {self.version}, {self.direction}: {self.problem}"


NEW_READS_OLD = "new schema reading old data"
OLD_READS_NEW = "old schema reading new data"
_PROMOTIONS = {
    "long": {"int"},
    "float": {"int", "long"},
    "double": {"int", "long", "float"},
    "bytes": {"string"},
    "string": {"bytes"},
}


def check(level: Level, new: Any, old: Sequence[tuple[int, Any]]) -> list[Conflict]:
    """What speaks against `new` after the versions `old` (number, schema; oldest first)."""
    against = old if level.transitive else old[-1:]
    conflicts: list[Conflict] = []
    for version, schema in reversed(against):
        if level.backward:
            conflicts += [Conflict(version, NEW_READS_OLD, p) for p in problems(new, schema)]
        if level.forward:
            conflicts += [Conflict(version, OLD_READS_NEW, p) for p in problems(schema, new)]
    return conflicts


def problems(reader: Any, writer: Any) -> list[Problem]:
    """Why `reader` cannot read everything that `writer` can write; empty when it can."""
    read, write = _Types(), _Types()
    return _Pair(read.named, write.named).compare(read.take(reader, ""), write.take(writer, ""), "")


@dataclass(frozen=True, slots=True)
class _Node:
    """A schema with references resolved as far as names; `body` is the JSON of a named or complex type."""

    kind: str
    name: str = ""
    body: Any = None
    space: str = ""


class _Types:
    """Turns JSON into nodes and remembers named types, so that references and recursion can be followed."""

    def __init__(self) -> None:
        self.named: dict[str, _Node] = {}

    def take(self, node: Any, space: str) -> _Node:
        if isinstance(node, str):
            return _Node(node) if node in PRIMITIVES else _Node("reference", resolve(node, space))
        if isinstance(node, list):
            return _Node("union", body=[self.take(branch, space) for branch in node])
        kind = node["type"]
        if kind in ("record", "error", "enum", "fixed"):
            return self._take_named(node, "record" if kind == "error" else kind, space)
        if kind in ("array", "map"):
            return _Node(kind, body=self.take(node["items" if kind == "array" else "values"], space))
        return self.take(kind, space)

    def _take_named(self, node: dict[str, Any], kind: str, space: str) -> _Node:
        name = full_name(node, space)
        own = name.rpartition(".")[0]
        body = dict(node)
        taken = self.named[name] = _Node(kind, name, body, own)
        if kind == "record":
            body["fields"] = [{**field, "type": self.take(field["type"], own)} for field in node["fields"]]
        return taken


class _Pair:
    """One comparison of a reader's with a writer's types."""

    def __init__(self, read: dict[str, _Node], write: dict[str, _Node]) -> None:
        self._read = read
        self._write = write
        # Pairs of records being compared. Met again inside itself, a pair adds nothing new.
        self._open: set[tuple[str, str]] = set()

    def compare(self, reader: _Node, writer: _Node, path: str) -> list[Problem]:
        reader = self._read[reader.name] if reader.kind == "reference" else reader
        writer = self._write[writer.name] if writer.kind == "reference" else writer
        if writer.kind == "union":
            return [p for branch in writer.body for p in self.compare(reader, branch, path)]
        if reader.kind == "union":
            return self._into_union(reader, writer, path)
        if reader.kind != writer.kind:
            if writer.kind in _PROMOTIONS.get(reader.kind, ()):
                return []
            return [Problem("TYPE_MISMATCH", path, f"{_show(writer)} cannot be read as {_show(reader)}")]
        match reader.kind:
            case "array":
                return self.compare(reader.body, writer.body, f"{path}[]")
            case "map":
                return self.compare(reader.body, writer.body, f"{path}{{}}")
            case "record":
                return _names(reader, writer, path) or self._records(reader, writer, path)
            case "enum":
                return _names(reader, writer, path) or _symbols(reader.body, writer.body, path)
            case "fixed":
                return _names(reader, writer, path) or _sizes(reader.body, writer.body, path)
            case _:
                return []

    def _into_union(self, reader: _Node, writer: _Node, path: str) -> list[Problem]:
        tried = [(branch, self.compare(branch, writer, path)) for branch in reader.body]
        if any(not found for _, found in tried):
            return []
        # A branch of the same name explains more than "no branch fits".
        for branch, found in tried:
            if self._same(branch, writer):
                return found
        branches = ", ".join(_show(branch) for branch in reader.body)
        return [Problem("MISSING_UNION_BRANCH", path, f"{_show(writer)} is none of {branches}")]

    def _same(self, branch: _Node, writer: _Node) -> bool:
        branch = self._read[branch.name] if branch.kind == "reference" else branch
        return branch.kind == writer.kind and (not branch.name or not _names(branch, writer, ""))

    def _records(self, reader: _Node, writer: _Node, path: str) -> list[Problem]:
        pair = (reader.name, writer.name)
        if pair in self._open:
            return []
        self._open.add(pair)
        found = self._fields(reader, writer, path)
        self._open.remove(pair)
        return found

    def _fields(self, reader: _Node, writer: _Node, path: str) -> list[Problem]:
        written = {field["name"]: field["type"] for field in writer.body["fields"]}
        found: list[Problem] = []
        for field in reader.body["fields"]:
            at = _join(path, field["name"])
            names = [field["name"], *field.get("aliases", ())]
            source = next((written[name] for name in names if name in written), None)
            if source is not None:
                found += self.compare(field["type"], source, at)
            elif "default" not in field:
                message = "has no default and is missing in what was written"
                found.append(Problem("READER_FIELD_MISSING_DEFAULT_VALUE", at, message))
        return found


def _names(reader: _Node, writer: _Node, path: str) -> list[Problem]:
    """Names match without namespace, or by an alias of the reader."""
    aliases = {a if "." in a or not reader.space else f"{reader.space}.{a}" for a in reader.body.get("aliases", ())}
    if reader.name.rpartition(".")[2] == writer.name.rpartition(".")[2] or writer.name in aliases:
        return []
    return [Problem("NAME_MISMATCH", path, f"{writer.name} cannot be read as {reader.name}")]


def _symbols(reader: dict[str, Any], writer: dict[str, Any], path: str) -> list[Problem]:
    missing = [symbol for symbol in writer["symbols"] if symbol not in reader["symbols"]]
    if not missing or reader.get("default") in reader["symbols"]:
        return []
    return [Problem("MISSING_ENUM_SYMBOLS", path, f"no symbol {', '.join(missing)} and no default for unknown symbols")]


def _sizes(reader: dict[str, Any], writer: dict[str, Any], path: str) -> list[Problem]:
    if reader["size"] == writer["size"]:
        return []
    return [Problem("FIXED_SIZE_MISMATCH", path, f"{writer['size']} bytes cannot be read as {reader['size']}")]


def _join(base: str, path: str) -> str:
    return path if not base else base if not path else f"{base}.{path}"


def _show(node: _Node) -> str:
    return node.name or (f"union of {_list(node.body)}" if node.kind == "union" else node.kind)


def _list(nodes: Iterable[_Node]) -> str:
    return ", ".join(_show(node) for node in nodes)
