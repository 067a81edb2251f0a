"""Session state as records of wa.sessions: one sealed record per item, large values in parts within one transaction.

Key = `<instance_id> NUL <hex item>`; the data key (core.security.keyring) names and seals. The first byte of a sealed
value tells whether it is the whole value, the index of a value in parts, or a part.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Mapping

from core.errors import DBError
from core.security.keyring import DataKey

SEPARATOR = b"\x00"
DATA_KEY_ITEM = b"dk"
# Below the broker's and the producer's 1 MiB, with room for name, nonce and tag.
PART_BYTES = 768 * 1024
# Items of the connector; all others are the host's.
OWN = "c/"
# The state of a device that was logged out, kept under another name.
ARCHIVE = "a/"

_WHOLE, _INDEXED, _PART = b"\x00", b"\x01", b"\x02"
_INDEX = struct.Struct(">I32s")


def split_key(key: bytes) -> tuple[str, bytes]:
    """Instance id and item of a record's key; the loop's own records have an empty instance id."""
    instance, _, item = key.partition(SEPARATOR)
    return instance.decode(), item


def record_key(instance_id: str, item: str) -> bytes:
    return instance_id.encode() + SEPARATOR + item.encode()


def data_key_record_key(instance_id: str) -> bytes:
    return instance_id.encode() + SEPARATOR + DATA_KEY_ITEM


def open_all(data_key: DataKey, records: Iterable[tuple[bytes, bytes]]) -> dict[str, bytes]:
    """Every item of an instance, parts put together and checked. Raises DBError when something is wrong or missing."""
    items: dict[str, bytes] = {}
    indexes: dict[str, bytes] = {}
    parts: dict[str, bytes] = {}
    kinds = {_WHOLE: items, _INDEXED: indexes, _PART: parts}
    for key, sealed in records:
        name, value = data_key.open(key.partition(SEPARATOR)[2].decode(), sealed)
        kinds[value[:1]][name] = value[1:]
    for name, index in indexes.items():
        count, digest = _INDEX.unpack(index)
        whole = b"".join(parts.get(_part_name(name, number), b"") for number in range(count))
        if hashlib.sha256(whole).digest() != digest:
            raise DBError("db.state_corrupt", "the parts of a state item do not fit together", item=name)
        items[name] = whole
    return items


class ItemWriter:
    """Turns changed items into records and removes the parts that a smaller value leaves behind."""

    __slots__ = ("_data_key", "_parts", "_prefix")

    def __init__(self, data_key: DataKey) -> None:
        self._data_key = data_key
        self._prefix = data_key.instance_id.encode() + SEPARATOR
        self._parts: dict[str, int] = {}

    def know(self, items: Mapping[str, bytes]) -> None:
        """The items as they stand in Kafka: which of them are in parts."""
        self._parts = {name: _part_count(value) for name, value in items.items() if len(value) > PART_BYTES}

    def records(self, changes: Mapping[str, bytes | None]) -> list[tuple[bytes, bytes | None]]:
        out: list[tuple[bytes, bytes | None]] = []
        for name, value in changes.items():
            before = self._parts.pop(name, 0) if self._parts else 0
            after = 0
            if value is None:
                out.append((self._key(name), None))
            elif len(value) <= PART_BYTES:
                out.append(self._seal(name, _WHOLE + value))
            else:
                after = self._parts[name] = _part_count(value)
                index = _INDEX.pack(after, hashlib.sha256(value).digest())
                out.append(self._seal(name, _INDEXED + index))
                for number in range(after):
                    part = value[number * PART_BYTES : (number + 1) * PART_BYTES]
                    out.append(self._seal(_part_name(name, number), _PART + part))
            out += [(self._key(_part_name(name, number)), None) for number in range(after, before)]
        return out

    def _seal(self, name: str, value: bytes) -> tuple[bytes, bytes]:
        item, sealed = self._data_key.seal(name, value)
        return self._prefix + item.encode(), sealed

    def _key(self, name: str) -> bytes:
        return self._prefix + self._data_key.item(name).encode()


def _part_name(name: str, number: int) -> str:
    return f"{name}\x00{number}"


def _part_count(value: bytes) -> int:
    return 0 if len(value) <= PART_BYTES else -(-len(value) // PART_BYTES)
