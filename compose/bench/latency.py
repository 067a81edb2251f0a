"""How long a message takes: from WhatsApp's acceptance of it to the committed event at a consumer."""

from __future__ import annotations

from compose.bench.rig import Rig
from compose.bench.watch import Watch
from schemas.codec import open_codec


def latencies_ms(rig: Rig, watch: Watch, kind: str) -> list[float]:
    """Of every event of that kind that was seen; the simulator's ledger must not have been cleared meanwhile."""
    accepted = {row["id"]: row["at_ms"] for row in rig.simulator.ledger()["sent"]}
    codec = open_codec(rig.settings)
    return [
        seen.at * 1000 - accepted.pop(codec.decode(seen.topic, seen.value)["key"]["id"]) for seen in watch.records(kind)
    ]
