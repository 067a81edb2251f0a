"""Several connectors share the instances: what moves when one comes, goes, dies, stands still or is started twice.

Kafka, registry, registrar, limiter and simulator are a local stack; the connectors are processes of `wharf connector`, which
nobody starts again. Messages flow both ways in every test, and afterwards ledgers and log agree by ids.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from confluent_kafka import ConsumerGroupState, ConsumerGroupTopicPartitions, TopicPartition

from core.ids import partition_for
from core.kafka.clients import KafkaClients
from core.process import EXIT_FENCED
from core.settings import PREFIX
from tests.support.away import Traffic
from tests.support.slots import Slots, epochs, is_gone, stale_events, stopped
from tests.support.stack import LiveStack, Paired, running_stack
from tests.support.waiting import wait_until

Flow = Callable[[], Traffic]

pytestmark = pytest.mark.timeout(300)
INSTANCES = 10
PERIOD_S = 0.5
SETTLE_S = 120
# Longer than any of these tests: what moves within them has not waited for it.
NEVER_MS = str(300_000)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveStack]:
    env = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    with running_stack(tmp_path_factory.mktemp("several"), env, connectors=0) as live:
        yield live


@pytest.fixture(scope="module")
def people(own: LiveStack, tmp_path_factory: pytest.TempPathFactory) -> tuple[Paired, str]:
    slots = Slots(own, tmp_path_factory.mktemp("pairing"))
    try:
        first = slots.start("a")
        slots.wait_owning((first, len(slots.partitions)))
        paired = own.add_instances(INSTANCES)
        # A phone whose companion has no prekeys at WhatsApp yet cannot be written to.
        slots.wait_online(paired.ids, first)
        return paired, own.add_contact()
    finally:
        slots.close()


@pytest.fixture
def slots(own: LiveStack, people: tuple[Paired, str], tmp_path: Path) -> Iterator[Slots]:
    slots = Slots(own, tmp_path / "slots")
    yield slots
    slots.close()


@pytest.fixture
def flow(own: LiveStack, people: tuple[Paired, str], request: pytest.FixtureRequest) -> Iterator[Flow]:
    """Starts messages both ways, once all are online, and waits until they flow."""
    paired, contact = people
    with ExitStack() as running:

        def start() -> Traffic:
            name = request.node.name.removeprefix("test_")
            traffic = running.enter_context(Traffic(own, paired, contact, name, PERIOD_S))
            traffic.wait_flowing()
            return traffic

        yield start


def test_adding_a_connector_moves_half_of_them_and_each_reconnects_once(
    own: LiveStack, people: tuple[Paired, str], slots: Slots, flow: Flow
) -> None:
    ids = people[0].ids
    a = slots.start("a")
    slots.wait_owning((a, 8))
    slots.wait_online(ids, a)
    traffic = flow()
    before = epochs(own, ids)

    b = slots.start("b")
    slots.wait_owning((a, 4), (b, 4))
    slots.wait_online(ids, a, b)
    traffic.settle(SETTLE_S)

    moved = {one for one in ids if partition_for(one, 8) in b.owned()}
    assert 0 < len(moved) < len(ids)
    new = {one: told[len(before[one]) :] for one, told in epochs(own, ids).items()}
    assert new == {one: [before[one][-1] + 1] if one in moved else [] for one in ids}
    assert stale_events(own, ids) == []


def test_a_connector_that_is_killed_for_good_hands_over_after_the_session_timeout(
    own: LiveStack, people: tuple[Paired, str], slots: Slots, flow: Flow
) -> None:
    ids = people[0].ids
    a, b = slots.start("a"), slots.start("b")
    slots.wait_owning((a, 4), (b, 4))
    slots.wait_online(ids, a, b)
    traffic = flow()
    stays = {one for one in ids if partition_for(one, 8) in a.owned()}
    before = epochs(own, ids)

    os.kill(b.process.pid, signal.SIGKILL)
    slots.wait_owning((a, 8))
    slots.wait_online(ids, a)
    traffic.settle(SETTLE_S)

    assert a.logged("takeover_fences"), "it did not release them"
    new = {one: told[len(before[one]) :] for one, told in epochs(own, ids).items()}
    assert new == {one: [] if one in stays else [before[one][-1] + 1] for one in ids}
    assert stale_events(own, ids) == []


@pytest.mark.long
def test_a_slot_that_is_given_up_moves_without_waiting_for_the_session_timeout(
    own: LiveStack, people: tuple[Paired, str], slots: Slots, flow: Flow
) -> None:
    ids = people[0].ids
    a, b = slots.start("a"), slots.start("leaver", WHARF_CONNECTOR__SESSION_TIMEOUT_MS=NEVER_MS)
    slots.wait_owning((a, 4), (b, 4))
    slots.wait_online(ids, a, b)
    traffic = flow()
    before = epochs(own, ids)
    moves = {one for one in ids if partition_for(one, 8) in b.owned()}

    assert b.process.stop()[0] == 0
    assert slots.leave("leaver", WHARF_CONNECTOR__SESSION_TIMEOUT_MS=NEVER_MS) == 0
    slots.wait_owning((a, 8))
    slots.wait_online(ids, a)
    traffic.settle(SETTLE_S)

    assert not a.logged("takeover_fences"), "all was released"
    new = {one: told[len(before[one]) :] for one, told in epochs(own, ids).items()}
    assert new == {one: [before[one][-1] + 1] if one in moves else [] for one in ids}
    assert stale_events(own, ids) == []


@pytest.mark.long
def test_a_slot_that_is_started_twice_ends_the_older_process(
    own: LiveStack, people: tuple[Paired, str], slots: Slots, flow: Flow
) -> None:
    ids = people[0].ids
    a, older = slots.start("a"), slots.start("b")
    slots.wait_owning((a, 4), (older, 4))
    slots.wait_online(ids, a, older)
    traffic = flow()
    owned, host, revoked = older.owned(), older.host_pid(), len(a.logged("revoked"))

    newer = slots.start("b")
    assert older.process.wait(60) == EXIT_FENCED
    wait_until(lambda: is_gone(host), 30, "its host ended with it, all sockets closed")
    slots.wait_owning((a, 4), (newer, 4))
    slots.wait_online(ids, a, newer)
    traffic.settle(SETTLE_S)

    assert newer.owned() == owned, "nothing moves between slots"
    assert len(a.logged("revoked")) == revoked
    assert a.process.alive
    assert newer.process.alive
    assert stale_events(own, ids) == []


@pytest.mark.parametrize(
    "with_host", [pytest.param(True, id="machine"), pytest.param(False, id="process", marks=pytest.mark.long)]
)
def test_an_owner_that_stood_still_writes_and_sends_nothing_after_the_take_over(
    own: LiveStack, people: tuple[Paired, str], slots: Slots, flow: Flow, with_host: bool
) -> None:
    """Without its host, that one goes on by itself for a while: nothing is committed, so nothing leaves it."""
    ids = people[0].ids
    a, b = slots.start("a"), slots.start("b")
    slots.wait_owning((a, 4), (b, 4))
    slots.wait_online(ids, a, b)
    traffic = flow()
    pids = b.pids()

    with stopped(pids if with_host else pids[:1]):
        slots.wait_owning((a, 8))
        slots.wait_online(ids, a)
        taken = epochs(own, ids)
    assert b.process.wait(60) == EXIT_FENCED
    wait_until(lambda: is_gone(pids[1]), 30, "its host ended with it")
    traffic.settle(SETTLE_S)

    assert epochs(own, ids) == taken, "the new owner's sessions were left alone"
    assert stale_events(own, ids) == []


@pytest.mark.parametrize("how", ["deleted", pytest.param("set to the beginning", marks=pytest.mark.long)])
def test_the_groups_offsets_gone_sends_nothing_again(
    own: LiveStack, people: tuple[Paired, str], slots: Slots, flow: Flow, how: str
) -> None:
    ids = people[0].ids
    a, b = slots.start("a"), slots.start("b")
    slots.wait_owning((a, 4), (b, 4))
    slots.wait_online(ids, a, b)
    traffic = flow()
    assert [a.process.stop()[0], b.process.stop()[0]] == [0, 0]
    forget_offsets(own, delete=how == "deleted")

    a, b = slots.start("a"), slots.start("b")
    slots.wait_owning((a, 4), (b, 4))
    slots.wait_online(ids, a, b)
    traffic.settle(SETTLE_S)
    assert [*a.logged("takeover_uses_position_item"), *b.logged("takeover_uses_position_item")]
    assert stale_events(own, ids) == []


def forget_offsets(own: LiveStack, *, delete: bool) -> None:
    """What an expiry, or an administrator, does to a group without members."""
    admin = KafkaClients(own.settings.kafka, "tests").admin()
    prefix = own.settings.kafka.prefix
    group = f"{prefix}connector"

    def state() -> ConsumerGroupState:
        found: ConsumerGroupState = admin.describe_consumer_groups([group])[group].result(10).state
        return found

    # Static members keep their place until their session time-out.
    wait_until(lambda: state() == ConsumerGroupState.EMPTY, 60, "the group is empty")
    if delete:
        admin.delete_consumer_groups([group])[group].result(10)
        return
    first = [TopicPartition(f"{prefix}commands.admitted", number, 0) for number in range(8)]
    admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, first)])[group].result(10)


@pytest.mark.long
def test_a_replaced_session_stays_so_when_it_moves(
    own: LiveStack, people: tuple[Paired, str], slots: Slots, flow: Flow
) -> None:
    """`replaced` is lost ownership: neither its owner nor the next one takes the session back by itself."""
    paired, ids = people[0], people[0].ids
    a, b = slots.start("a"), slots.start("b")
    slots.wait_owning((a, 4), (b, 4))
    slots.wait_online(ids, a, b)
    traffic = flow()
    victim = next(one for one in ids if partition_for(one, 8) in b.owned())
    before = epochs(own, ids)[victim]

    own.simulator.kick(paired.phones[victim], conflict="replaced")
    wait_until(lambda: b.states()[victim] == "replaced", 30, "replaced")
    os.kill(b.process.pid, signal.SIGKILL)
    slots.wait_owning((a, 8))
    slots.wait_online([one for one in ids if one != victim], a)
    assert a.states()[victim] == "replaced"
    assert epochs(own, ids)[victim] == before

    own.system.request("instance_change", victim, label="somebody looked after it")
    own.system.flush()
    slots.wait_online(ids, a)
    traffic.settle(SETTLE_S)
    assert epochs(own, ids)[victim] == [*before, before[-1] + 1]
    assert stale_events(own, ids) == []
