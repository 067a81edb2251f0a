"""Evidence for the judge: the simulator's ledgers, an independent read_committed dump of the log, and ClickHouse.

Nothing here is taken from what the run saw while it went on, but for what the log does not keep: what Kafka acknowledged, and
the owner records and positions, which are compacted away.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from compose.chaos.seen import HAPPENINGS
from compose.demo.dump import Dump, Entry, final, number
from compose.demo.simulator import Simulator
from compose.demo.stored import Comparison
from core.histories import Claim, Position, Send, Stamp, Step
from core.ids import partition_for
from core.oracle import Key, Observation
from core.verdict import Evidence

EVENTS = (
    "events.message",
    "events.status",
    "events.session",
    "events.chat",
    "events.contact",
    "events.limit",
    "pairing",
)
MESSAGE, UNDECRYPTABLE = "message.new", "message.undecryptable"
RETRY = "retry"
ONLINE = "online"


def collect(
    dump: Dump,
    simulator: Simulator,
    phones: Mapping[str, str],
    acknowledged: Sequence[Key],
    requests: Sequence[Key],
    claims: Sequence[Claim],
    positions: Sequence[Position],
    partitions: int,
    storms: Sequence[tuple[int, int]],
    stored: Comparison,
) -> Evidence:
    """`phones`: instance → number; `partitions` is how many each topic has.

    Records are looked at one by one and not kept: a long run has millions.
    """
    instances = {phone: instance for instance, phone in phones.items()}
    ledger = simulator.ledger(dedupe=False)
    accepted = [
        Step(instances[to], number(row["sender"]), row["id"])
        for row in ledger["sent"]
        if (to := number(row["to"])) in instances
    ]
    received = [
        Step(instances[who], number(row["recipient"]), row["id"])
        for row in ledger["received"]
        if (who := number(row["sender"])) in instances
    ]
    accepted_of_ours = [
        Send(who, partition_for(who, partitions), row["id"], row["login_at_ms"], row["at_ms"])
        for row in ledger["sent"]
        if (who := instances.get(number(row["sender"]), ""))
    ]
    chats = {(step.instance_id, step.id): step.chat for step in accepted}
    places: dict[Key, list[str]] = defaultdict(list)
    events_in: list[Key] = []
    events_out: list[Key] = []
    in_order: list[Step] = []
    asked_again: set[Key] = set()
    stamps: list[Stamp] = []
    for topic in EVENTS:
        for entry in dump.entries(topic):
            if (stamp := _stamp(entry)) is not None:
                stamps.append(stamp)
            if topic == "events.status" and entry.record["wire_type"] == RETRY:
                asked_again.add((entry.record["envelope"]["instance_id"], entry.record["message_id"]))
            if topic != "events.message":
                continue
            key, kind, incoming = _message(entry), entry.record["kind"], entry.record["direction"] == "in"
            places[key].append(entry.at)
            if kind == MESSAGE:
                (events_in if incoming else events_out).append(key)
            # What holds a message's place is its first event, be it that it could not be decrypted.
            if incoming and kind in (MESSAGE, UNDECRYPTABLE) and key in chats:
                in_order.append(Step(key[0], chats[key], key[1], entry.at))
    commands, sends = [], []
    for entry in dump.entries("commands"):
        if entry.record["type"] == "send":
            key = (entry.record["instance_id"], entry.record["command_id"])
            commands.append(key)
            sends.append((key, entry.record["to"], entry.at))
            places[key].append(entry.at)
    finals = []
    for entry in dump.entries("results"):
        if entry.record["type"] == "send" and entry.record["final"]:
            finals.append(final(entry.record))
            places[finals[-1].command].append(f"{entry.at} {entry.record['state']}")
    sent_as = {each.command: each.message_id for each in finals if each.message_id}
    asked = [
        (entry.record["instance_id"], entry.record["request_id"])
        for entry in dump.entries("control")
        if entry.record["kind"] == "instance_change"
    ]
    known = set(asked)
    return Evidence(
        seen=Observation(
            accepted=[(step.instance_id, step.id) for step in accepted],
            events_in=events_in,
            commands=commands,
            finals=finals,
            received=[(step.instance_id, step.id) for step in received],
            events_out=events_out,
        ),
        acknowledged=acknowledged,
        accepted=accepted,
        events_in=in_order,
        commands=[Step(key[0], number(to), sent_as[key], at) for key, to, at in sends if key in sent_as],
        received=received,
        asked_again=asked_again,
        stamps=stamps,
        claims=claims,
        positions=positions,
        storms=storms,
        offline=_offline(dump),
        sends=accepted_of_ours,
        acknowledged_requests=requests,
        requests=asked,
        answers=[
            key
            for entry in dump.entries("audit")
            if (key := (entry.record["subject"], entry.record["request_id"])) in known
        ],
        places=places,
        stored=stored.events,
        stored_missing=stored.missing,
        stored_surplus=stored.surplus,
        stored_doubled=stored.doubled,
        rollups_short=stored.rollups_short,
        rollups_over=stored.rollups_over,
    )


def _message(entry: Entry) -> Key:
    return entry.record["envelope"]["instance_id"], entry.record["key"]["id"]


def _stamp(entry: Entry) -> Stamp | None:
    envelope = entry.record["envelope"]
    if envelope["session_epoch"] is None or envelope["seq"] is None:
        return None
    numbers = envelope["session_epoch"], envelope["seq"]
    return Stamp(envelope["instance_id"], entry.topic, *numbers, entry.at, entry.partition, entry.timestamp_ms)


def _offline(dump: Dump) -> list[Key]:
    """Instances with their last state where that is not online."""
    states = {
        entry.record["envelope"]["instance_id"]: entry.record["state"]
        for entry in dump.entries("events.session")
        if entry.record["state"] not in HAPPENINGS
    }
    return [(instance, state) for instance, state in states.items() if state != ONLINE]
