"""Evidence for the judge: the simulator's ledgers and an independent read_committed dump of the log.

Nothing here is taken from what the run saw while it went on, but for two things that the log does not keep: what Kafka
acknowledged, and the owner records, which are compacted away.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from compose.demo.dump import Dump, Entry, final, number
from compose.demo.simulator import Simulator
from core.histories import Claim, Stamp, Step
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


def collect(
    dump: Dump,
    simulator: Simulator,
    phones: Mapping[str, str],
    acknowledged: Sequence[Key],
    requests: Sequence[Key],
    claims: Sequence[Claim],
) -> Evidence:
    """`phones`: instance → number."""
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
    places: dict[Key, list[str]] = defaultdict(list)
    events = [entry for topic in EVENTS for entry in dump.entries(topic)]
    for entry in events:
        if entry.topic == "events.message":
            places[_message(entry)].append(entry.at)
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
            events_in=[_message(entry) for entry in events if _is(entry, "in", MESSAGE)],
            commands=commands,
            finals=finals,
            received=[(step.instance_id, step.id) for step in received],
            events_out=[_message(entry) for entry in events if _is(entry, "out", MESSAGE)],
        ),
        acknowledged=acknowledged,
        accepted=accepted,
        events_in=_in_order(events, accepted),
        commands=[Step(key[0], number(to), sent_as[key], at) for key, to, at in sends if key in sent_as],
        received=received,
        stamps=[stamp for entry in events if (stamp := _stamp(entry)) is not None],
        claims=claims,
        acknowledged_requests=requests,
        requests=asked,
        answers=[
            key
            for entry in dump.entries("audit")
            if (key := (entry.record["subject"], entry.record["request_id"])) in known
        ],
        places=places,
    )


def _in_order(events: Sequence[Entry], accepted: Sequence[Step]) -> list[Step]:
    """What holds a message's place is its first event, be it that it could not be decrypted."""
    chats = {(step.instance_id, step.id): step.chat for step in accepted}
    return [
        Step(key[0], chats[key], key[1], entry.at)
        for entry in events
        if (_is(entry, "in", MESSAGE) or _is(entry, "in", UNDECRYPTABLE)) and (key := _message(entry)) in chats
    ]


def _is(entry: Entry, direction: str, kind: str) -> bool:
    record = entry.record
    return entry.topic == "events.message" and record["direction"] == direction and record["kind"] == kind


def _message(entry: Entry) -> Key:
    return entry.record["envelope"]["instance_id"], entry.record["key"]["id"]


def _stamp(entry: Entry) -> Stamp | None:
    envelope = entry.record["envelope"]
    if envelope["session_epoch"] is None or envelope["seq"] is None:
        return None
    return Stamp(envelope["instance_id"], entry.topic, envelope["session_epoch"], envelope["seq"], entry.at)
