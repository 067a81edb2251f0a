"""How far messages came at their recipients: the monotone machine, and its memory as part of the session's state.

    pending 0 < sending 1 < server_ack 2 < delivered 3 < read 4 < played 5

A state only rises. `failed` (rank 1) is taken below server_ack only, and anything that arrives later overrides it. One
state per message and user, whatever device a receipt comes from; what is known of a message as a whole counts for each.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b

from connectors.state_items import OWN

RANKS = {"pending": 0, "sending": 1, "failed": 1, "server_ack": 2, "delivered": 3, "read": 4, "played": 5}
# The stored form of a state; the order is part of it.
STATES = ("pending", "sending", "server_ack", "delivered", "read", "played", "failed")
_CODES = {state: code for code, state in enumerate(STATES)}

ITEM = OWN + "status/"
KEY_BYTES = 8
BLOCK_CELLS = 32
# Messages and users remembered; of what is older, a late receipt is taken for the first.
BLOCKS = 64
_HEAD = struct.Struct(">QB")


def step(state: str | None, fact: str) -> str:
    """The state after a fact. Any fact is good enough for what nothing is known of."""
    if state is None:
        return fact
    if fact == "failed":
        return "failed" if RANKS[state] < RANKS["server_ack"] else state
    return fact if RANKS[fact] > RANKS[state] else state


@dataclass(frozen=True, slots=True)
class Reduced:
    """The user's state after a fact; `raised` when the fact changed it."""

    status: str
    raised: bool

    @property
    def rank(self) -> int:
        return RANKS[self.status]


class _Block:
    """Cells side by side: finding one is a search for eight bytes. `filling` grows with each block begun."""

    __slots__ = ("codes", "filling", "keys", "seconds")

    def __init__(self, filling: int) -> None:
        self.filling = filling
        self.keys = bytearray()
        self.codes = bytearray()
        self.seconds = array("I")

    @classmethod
    def restore(cls, value: bytes) -> _Block:
        filling, count = _HEAD.unpack_from(value)
        block = cls(filling)
        keys_end = _HEAD.size + count * KEY_BYTES
        block.keys += value[_HEAD.size : keys_end]
        block.codes += value[keys_end : keys_end + count]
        block.seconds.extend(struct.unpack_from(f">{count}I", value, keys_end + count))
        return block

    def value(self) -> bytes:
        count = len(self.codes)
        head = _HEAD.pack(self.filling, count)
        return head + self.keys + self.codes + struct.pack(f">{count}I", *self.seconds)

    def find(self, key: bytes) -> int:
        """The cell of a key, -1 when it is not here."""
        at = self.keys.find(key)
        while at > 0 and at % KEY_BYTES:
            at = self.keys.find(key, at + 1)
        return at if at < 0 else at // KEY_BYTES


class Statuses:
    """A ring of blocks of cells: key, state, second at which the server took the message (0: not known). One changed
    block is one changed item."""

    __slots__ = ("_at", "_blocks", "_dirty")

    def __init__(self) -> None:
        self._blocks: list[_Block] = [_Block(1)]
        self._at = 0
        self._dirty: set[int] = set()

    @classmethod
    def restore(cls, items: Mapping[str, bytes]) -> Statuses:
        ring = cls()
        stored = {int(name[len(ITEM) :]): value for name, value in items.items() if name.startswith(ITEM)}
        if stored:
            ring._blocks = [_Block.restore(stored[number]) for number in range(len(stored))]
            ring._at = max(stored, key=lambda number: ring._blocks[number].filling)
        return ring

    def look(self, message_id: str, user: tuple[str, ...], fact: str) -> Reduced:
        """What a fact makes of the state; `apply` keeps it. `user` are the addresses of the participant, empty where the
        message is about the whole chat (the server's word, and everything in a chat of two)."""
        before = self.state(message_id, user)
        after = step(before, fact)
        return Reduced(after, after != before)

    def state(self, message_id: str, user: tuple[str, ...] = ()) -> str | None:
        found = self._find(message_id, user) or (self._find(message_id, ()) if user else None)
        return None if found is None else STATES[self._blocks[found[0]].codes[found[1]]]

    def apply(self, message_id: str, user: tuple[str, ...], status: str, *, sent_at_ms: int = 0) -> None:
        """Keep a state that `look` gave. `sent_at_ms` is the server's time of the message itself."""
        number, cell = self._find(message_id, user) or self._new(_key(message_id, user[0] if user else ""))
        block, code = self._blocks[number], _CODES[status]
        second = block.seconds[cell] or sent_at_ms // 1000
        if block.codes[cell] != code or block.seconds[cell] != second:
            block.codes[cell], block.seconds[cell] = code, second
            self._dirty.add(number)

    def sent_at_ms(self, message_id: str) -> int | None:
        """When the server took a message of ours, if that is remembered."""
        found = self._find(message_id, ())
        return None if found is None else self._blocks[found[0]].seconds[found[1]] * 1000 or None

    def changes(self) -> dict[str, bytes]:
        """Items that changed since the last call."""
        if not self._dirty:
            return {}
        out = {f"{ITEM}{number}": self._blocks[number].value() for number in self._dirty}
        self._dirty.clear()
        return out

    # ------------------------------------------------------------------ inside

    def _find(self, message_id: str, user: tuple[str, ...]) -> tuple[int, int] | None:
        """Newest blocks first: receipts are mostly about what was sent lately."""
        count = len(self._blocks)
        for address in user or ("",):
            key = _key(message_id, address)
            for back in range(count):
                number = (self._at - back) % count
                cell = self._blocks[number].find(key)
                if cell >= 0:
                    return number, cell
        return None

    def _new(self, key: bytes) -> tuple[int, int]:
        block = self._blocks[self._at]
        if len(block.codes) == BLOCK_CELLS:
            self._at = (self._at + 1) % BLOCKS
            block = _Block(block.filling + 1)
            self._blocks[self._at : self._at + 1] = [block]
        block.keys += key
        block.codes.append(0)
        block.seconds.append(0)
        self._dirty.add(self._at)
        return self._at, len(block.codes) - 1


def _key(message_id: str, address: str) -> bytes:
    return blake2b(f"{message_id}/{address}".encode(), digest_size=KEY_BYTES).digest()
