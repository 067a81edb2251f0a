"""The clock is set, or Kafka is away: waits last as long as they should, returns are spread, nothing hangs."""

from __future__ import annotations

import pytest

from connectors.health import Overview
from connectors.processor import RETURN_SPREAD_MS
from connectors.sends import RESEND_AFTER_MS
from core.telemetry.metrics import Metrics
from tests.support.connector import INSTANCE, PARTITION, Rig, finished, started

HOUR = 3_600_000


@pytest.fixture
def online() -> Rig:
    made = Rig()
    made.instance()
    made.online()
    return made


def opened(rig: Rig) -> int:
    return len(rig.driver.opened)


def test_a_session_that_waits_to_be_opened_again_does_not_wait_for_hours(online: Rig) -> None:
    online.driver.gone()
    online.settle()
    online.clock.step(-3 * HOUR)
    online.settle()
    assert opened(online) == 1, "the wait itself stays"
    online.clock.advance(1_000)
    online.settle()
    assert opened(online) == 2


def test_a_step_forward_opens_it_once(online: Rig) -> None:
    online.driver.gone()
    online.settle()
    online.clock.step(3 * HOUR)
    online.settle()
    assert opened(online) == 2


@pytest.mark.parametrize("step", [-3 * HOUR, 3 * HOUR])
def test_the_pace_at_the_wire_is_kept_and_does_not_hang(online: Rig, step: int) -> None:
    one, two = ("491511111111", "491522222222")
    text = {"type": "text", "text": "hello"}
    online.turn(*(online.command("send", to, interval_ms=500, to=to, content=text) for to in (one, two)))
    online.turn()
    handed = len(online.driver.sent)
    assert handed == 1
    online.clock.step(step)
    online.turn()
    online.clock.advance(500)
    online.turn()
    online.turn()
    assert len(online.driver.sent) == 2


def test_an_unsettled_send_goes_out_again_in_time_although_the_clock_was_set_back(online: Rig) -> None:
    online.turn(online.text("c1"))
    online.turn()
    online.driver.entry(started("c1", "M1"))
    online.turn()
    online.driver.entry(finished("c1", "NO_ACK"))
    online.turn()
    before = len(online.driver.sent)
    online.clock.step(-3 * HOUR)
    online.turn()
    assert len(online.driver.sent) == before
    online.clock.advance(RESEND_AFTER_MS[0] + 1)
    online.turn()
    online.turn()
    assert len(online.driver.sent) == before + 1


def test_an_expiry_is_a_time_of_day(online: Rig) -> None:
    online.driver.gone()
    online.turn()
    expiry = online.clock.now_ms() + 60_000
    online.turn(online.text("c1", expires_at=expiry))
    online.clock.step(-HOUR)
    online.clock.advance(61_000)
    online.driver.gone()
    online.turn()
    assert "expired" not in online.results("c1")
    online.clock.step(HOUR)
    online.turn()
    online.turn()
    assert online.results("c1")[-1] == "expired"


def test_a_partition_that_was_lost_brings_its_sessions_back_spread(online: Rig) -> None:
    online.processor.lost(PARTITION)
    for record in online.log:
        if record.topic == "sessions" and record.key is not None:
            online.processor.restore(PARTITION, record.key, record.value)
    online.instance()
    online.processor.owned(PARTITION, {("commands.admitted", PARTITION): online.position})
    online.settle()
    assert opened(online) == 1, "not at once"
    online.clock.advance(RETURN_SPREAD_MS // 2)
    online.settle()
    assert opened(online) == 2, "the jitter of this rig is a half"


def test_a_first_take_over_opens_at_once() -> None:
    rig = Rig()
    rig.instance()
    rig.settle()
    assert opened(rig) == 1


def test_a_take_over_that_was_broken_off_delays_none_later() -> None:
    rig = Rig()
    rig.processor.revoked(PARTITION)
    rig.processor.lost(PARTITION)
    rig.instance()
    rig.processor.owned(PARTITION, {("commands.admitted", PARTITION): 0})
    rig.settle()
    assert opened(rig) == 1


def test_what_was_torn_down_is_shown_offline_until_the_next_turn(online: Rig) -> None:
    overview = Overview(Metrics(), "connector-1")
    sessions = list(online.processor.sessions())
    overview.update(sessions, online.clock.now_ms())
    assert [row["state"] for row in overview.instances] == ["online"]
    overview.lost(sessions)
    (row,) = overview.instances
    assert (row["instance_id"], row["state"]) == (INSTANCE, "offline")
    assert row["last_error"]
