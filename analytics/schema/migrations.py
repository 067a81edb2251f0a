"""The numbered migrations as they stand in files, and what a database still lacks. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files

from core.errors import SettingsError

_NAME = re.compile(r"(\d{4})_(\w+)\.sql")


@dataclass(frozen=True, slots=True)
class Migration:
    number: int
    name: str
    text: str = field(repr=False)

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Applied:
    """One that a database says it has."""

    number: int
    name: str
    digest: str


@cache
def migrations() -> tuple[Migration, ...]:
    """All of them in order; numbers are 1, 2, 3 … without a gap."""
    found = []
    for entry in files("analytics.schema").joinpath("migrations").iterdir():
        name = _NAME.fullmatch(entry.name)
        if name:
            found.append(Migration(int(name[1]), name[2], entry.read_text(encoding="utf-8")))
    found.sort(key=lambda one: one.number)
    if [one.number for one in found] != list(range(1, len(found) + 1)):
        raise ValueError(f"migrations are numbered without a gap: {[one.number for one in found]}")
    return tuple(found)


def missing(applied: Mapping[int, Applied], known: tuple[Migration, ...]) -> list[Migration]:
    """What is to be run; SettingsError where the database is newer than this program or a migration was changed."""
    newest = max(applied, default=0)
    if newest > len(known):
        raise SettingsError("config.invalid", f"the database has migration {newest}, this program knows {len(known)}")
    for one in known[:newest]:
        there = applied.get(one.number)
        if there is None:
            raise SettingsError(
                "config.invalid", f"migration {one.number} is missing in the database, {newest} is there"
            )
        if there.digest != one.digest:
            text = f"migration {one.number} ({one.name}) is not the one that was run: write a new one instead"
            raise SettingsError("config.invalid", text)
    return list(known[newest:])
