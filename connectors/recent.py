"""The event ids a session saw lately, as part of its state: what comes a second time is dropped, across restarts.

Receipts and notifications have no ratchet that tells a redelivery, and the same message id under new ciphertext is a
second event in whatsmeow. A ring of blocks: one changed block is one changed item, however many ids are added at once.
"""

from __future__ import annotations

from collections.abc import Mapping

from connectors.state_items import OWN

ITEM = OWN + "recent/"
ID_BYTES = 8
BLOCK_IDS = 64
# More than a session may have unacked at WhatsApp (1,000), which is what can come again.
BLOCKS = 32
_BLOCK_BYTES = ID_BYTES * BLOCK_IDS


class RecentIds:
    """`blocks` is the ring; `at` the block being filled."""

    __slots__ = ("_at", "_blocks", "_dirty", "_round")

    def __init__(self) -> None:
        self._blocks: list[bytearray] = [bytearray()]
        self._at = 0
        self._round = 1
        self._dirty: set[int] = set()

    @classmethod
    def restore(cls, items: Mapping[str, bytes]) -> RecentIds:
        """From the items of the state; each block starts with the number of its filling, so the newest is known."""
        ring = cls()
        newest = 0
        for name, value in items.items():
            if not name.startswith(ITEM):
                continue
            number = int(name[len(ITEM) :])
            filled = int.from_bytes(value[:8], "big")
            while len(ring._blocks) <= number:
                ring._blocks.append(bytearray())
            ring._blocks[number] = bytearray(value[8:])
            if filled > newest:
                newest, ring._at = filled, number
        ring._round = max(newest, 1)
        return ring

    def add(self, event_id: str) -> bool:
        """False when it was there already."""
        digest = _digest(event_id)
        for block in self._blocks:
            if _holds(block, digest):
                return False
        block = self._blocks[self._at]
        if len(block) >= _BLOCK_BYTES:
            self._at = (self._at + 1) % BLOCKS
            self._round += 1
            if self._at == len(self._blocks):
                self._blocks.append(bytearray())
            block = self._blocks[self._at]
            block.clear()
        block += digest
        self._dirty.add(self._at)
        return True

    def changes(self) -> dict[str, bytes]:
        """Items that changed since the last call. A block's number grows by one each time a block is begun."""
        out = {}
        for number in self._dirty:
            behind = (self._at - number) % BLOCKS
            out[f"{ITEM}{number}"] = (self._round - behind).to_bytes(8, "big") + bytes(self._blocks[number])
        self._dirty.clear()
        return out


def _digest(event_id: str) -> bytes:
    # The last 64 bits of the UUID's text.
    return bytes.fromhex(event_id[-17:-13] + event_id[-12:])


def _holds(block: bytearray, digest: bytes) -> bool:
    at = block.find(digest)
    while at >= 0:
        if at % ID_BYTES == 0:
            return True
        at = block.find(digest, at + 1)
    return False
