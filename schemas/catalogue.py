"""The Avro schemas of all topics, self-contained, by topic.

Rule: one `.avsc` file per named type in `schemas/avro`, references by full name; a subject's schema has every named
type written out where it is first used, so that it needs no references in the registry. Subjects follow
TopicNameStrategy: `<full topic>-value`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any, TypeAlias

from core.topics import TOPICS

Schema: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Self-contained schemas by topic name without prefix."""

    by_topic: Mapping[str, Schema]

    def subjects(self, prefix: str) -> dict[str, Schema]:
        """Every subject to register, with its schema."""
        return {f"{prefix}{topic}-value": schema for topic, schema in self.by_topic.items()}


@cache
def named_types() -> Mapping[str, Schema]:
    """Every named type as its file has it, by full name."""
    types: dict[str, Schema] = {}
    for entry in sorted(files("schemas").joinpath("avro").iterdir(), key=lambda e: e.name):
        if entry.name.endswith(".avsc"):
            schema = json.loads(entry.read_text(encoding="utf-8"))
            name = f"{schema['namespace']}.{schema['name']}"
            if entry.name != f"{name}.avsc":
                raise ValueError(f"{entry.name} defines {name}: file and type must have one name")
            types[name] = schema
    return MappingProxyType(types)


@cache
def catalogue() -> Catalogue:
    """The schemas of every topic that has a record."""
    return Catalogue(MappingProxyType({t.name: self_contained(t.record) for t in TOPICS if t.record is not None}))


def self_contained(name: str) -> Schema:
    """The named type with every type it refers to written out at its first use."""
    schema: Schema = _expand(name, set())
    return schema


def _expand(node: Any, written: set[str]) -> Any:
    if isinstance(node, str):
        if "." not in node or node in written:
            return node
        return _expand(named_types()[node], written)
    if isinstance(node, list):
        return [_expand(branch, written) for branch in node]
    result = dict(node)
    match node["type"]:
        case "record":
            written.add(f"{node['namespace']}.{node['name']}")
            result["fields"] = [{**f, "type": _expand(f["type"], written)} for f in node["fields"]]
        case "enum":
            written.add(f"{node['namespace']}.{node['name']}")
        case "array":
            result["items"] = _expand(node["items"], written)
        case "map":
            result["values"] = _expand(node["values"], written)
    return result
