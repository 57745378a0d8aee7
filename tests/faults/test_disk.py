"""The disk of the spool: order of commit and PUBACK, slow, full, taken, older, newer."""

import sqlite3
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.faults.stage import (
    Links,
    Stage,
    await_drained,
    await_metric,
    await_spooled,
    live_status,
    spool_path,
)
from tests.faults.system_calls import Calls, trace_prefix
from tests.integration.scene import QUIET_DEADLINE_S, report
from tests.support.bridge_process import BridgeProcess
from tests.support.devices import fleet, telemetry
from tests.support.eventually import eventually, let_last
from tests.support.kafka_cluster import KafkaProcess
from tests.support.watcher import Watcher

DEVICES = 100
STALL_S = 6

# Each ends by becoming the bridge, so that its process id is the bridge's.
OUTPUTS = {
    "closed": "os.close(1)",
    "full": "os.dup2(os.open('/dev/full', os.O_WRONLY), 1)",
    "without a reader": "r, w = os.pipe(); os.dup2(w, 1); os.close(r); os.close(w)",
}
BECOME = "import os, sys; {}; os.execvp(sys.argv[1], sys.argv[1:])"


class PrefixedBridge(BridgeProcess):
    """A bridge that another program starts and becomes."""

    prefix: Sequence[str] = ()

    def spawn(self, command: Sequence[str | Path], **options: Any) -> None:
        super().spawn([*self.prefix, *command], **options)


@pytest.fixture
def start_prefixed(stage: Stage, tmp_path: Path) -> Iterator[Callable[..., PrefixedBridge]]:
    """Start a bridge through another program."""
    started: list[PrefixedBridge] = []

    def start(prefix: Sequence[str], **sections: Any) -> PrefixedBridge:
        bridge = PrefixedBridge(tmp_path / f"prefixed-{len(started)}", stage.config(**sections))
        bridge.prefix = prefix
        started.append(bridge)
        bridge.start()
        return bridge

    yield start
    for each in started:
        each.kill()


def test_every_puback_of_a_spooled_message_leaves_after_the_sync_of_its_commit(
    stage: Stage,
    victim: KafkaProcess,
    start_prefixed: Callable[..., PrefixedBridge],
    tmp_path: Path,
) -> None:
    trace = tmp_path / "trace"
    if (prefix := trace_prefix(trace)) is None:
        pytest.skip("strace is not installed, or may not trace here")
    bridge = start_prefixed(prefix)
    bridge.wait_ready(QUIET_DEADLINE_S)
    victim.freeze()
    devices = stage.devices()

    # One at a time, so that each PUBACK has a commit of its own.
    for number in range(30):
        acknowledged = bridge.metric("bridge_pubacks_sent_total")
        devices.publish([telemetry("device-1", number)])
        await_metric(bridge, "bridge_pubacks_sent_total", acknowledged.__lt__)
    spooled = await_spooled(bridge, 30)
    victim.thaw()
    stage.prove(bridge)

    calls = Calls(trace.read_text(encoding="utf-8"), mqtt_port=stage.mosquitto.port)
    told = calls.between_publish_and_puback(b"device-1", b"spool.sqlite3-wal")
    report(f"{spooled} spooled one by one; syncs between PUBLISH and PUBACK: {told}")
    assert 30 == len(told)
    assert min(told) >= 1, "a PUBACK left before the fdatasync of its commit"


@pytest.mark.slow
def test_a_disk_that_syncs_slowly_delays_neither_pingreq_nor_health(
    stage: Stage, victim: KafkaProcess
) -> None:
    # Longer than the MQTT broker waits for a PINGREQ, 3 s, and the watcher for an answer, 5 s.
    bridge = stage.spawn(mqtt={"keep_alive_s": 2})
    bridge.kill()
    bridge.env["BRIDGE_FAULT_POINTS"] = f"spool_commit=stall:{STALL_S}"
    bridge.start()
    bridge.wait_ready(QUIET_DEADLINE_S)
    connected = len(bridge.events("mqtt_connected"))
    devices = stage.devices(window=500)
    victim.freeze()

    with Watcher(bridge, every_s=0.05) as watcher:
        devices.publish(fleet(DEVICES, 2_000))
        began_s = time.monotonic()
        await_spooled(bridge, 2_000)
        took_s = time.monotonic() - began_s
    victim.thaw()
    bridge.wait_ready(QUIET_DEADLINE_S)
    reckoning = stage.prove(bridge)

    report(f"{len(watcher.samples)} answers, slowest {watcher.slowest_s * 1e3:.0f} ms; {reckoning}")
    assert took_s >= STALL_S, "no commit was stalled: the test proves nothing"
    assert {200} == set(watcher.live)
    assert connected == len(bridge.events("mqtt_connected"))


@pytest.mark.long
def test_a_disk_that_syncs_in_half_a_second_keeps_the_order_of_pubacks_and_answers(
    stage: Stage, victim: KafkaProcess
) -> None:
    bridge = stage.spawn(mqtt={"keep_alive_s": 2})
    bridge.kill()
    bridge.env["BRIDGE_FAULT_POINTS"] = "spool_commit=stall:0.5"
    bridge.start()
    bridge.wait_ready(QUIET_DEADLINE_S)
    devices = stage.lean()
    victim.freeze()

    with Watcher(bridge, every_s=0.05) as watcher:
        devices.start(fleet(DEVICES), rate_per_s=2_000.0)
        await_spooled(bridge, 10_000)
        victim.thaw()
        bridge.wait_ready(QUIET_DEADLINE_S)
        devices.stop()
        reckoning = stage.prove(bridge)

    report(f"{len(watcher.samples)} answers, slowest {watcher.slowest_s * 1e3:.0f} ms; {reckoning}")
    assert {200} == set(watcher.live)


@pytest.mark.slow
def test_a_full_disk_holds_without_loss_while_other_topics_flow_and_recovers_alone(
    stage: Stage, victim: KafkaProcess, small_disk: Path, unique_name: Callable[[str], str]
) -> None:
    other = victim.client.create_topic(unique_name("meters"), 1)
    config = stage.config(spool={"directory": str(small_disk / "spool")})
    config["route"].append({"filter": "meters/+/telemetry", "kafka_topic": other})
    bridge = stage.start_with(config)
    devices, beside = stage.lean(window=500), stage.beside(window=10)
    devices.publish(fleet(DEVICES, 500))
    stage.await_nothing_in_flight(bridge)

    victim.client.deny_write(stage.telemetry)
    # Slow enough that the window, which all topics share, is not full when the disk is.
    devices.start(fleet(DEVICES, first=500), rate_per_s=1_000.0)
    failed = bridge.wait_for_event("spool_failed", deadline_s=60.0)
    devices.stop(120.0)
    not_ready = bridge.wait_not_ready().json()["checks"]["spool"]
    beside.publish(
        telemetry("meter-1", number, mqtt_topic="meters/meter-1/telemetry") for number in range(200)
    )
    flowed = len(victim.client.consume_all(other, until=200))
    assert 200 == live_status(bridge)
    (small_disk / "filler").unlink()
    bridge.wait_for_event("spool_recovered", deadline_s=60.0)
    victim.client.allow_write(stage.telemetry)
    bridge.wait_ready(QUIET_DEADLINE_S)
    reckoning = stage.prove(bridge)

    report(f"{failed}; {not_ready}; {flowed} of the other topic flowed meanwhile; {reckoning}")
    assert "spool_failed" == not_ready["state"]


@pytest.mark.slow
def test_kafka_back_while_the_disk_is_still_full_is_given_everything(
    stage: Stage, victim: KafkaProcess, small_disk: Path
) -> None:
    bridge = stage.start(spool={"directory": str(small_disk / "spool")})
    devices = stage.lean(window=500)
    devices.publish(fleet(DEVICES, 500))
    stage.await_nothing_in_flight(bridge)

    victim.freeze()
    devices.start(fleet(DEVICES, 30_000, first=500), rate_per_s=4_000.0)
    bridge.wait_for_event("spool_failed", deadline_s=60.0)
    let_last(3.0)
    victim.thaw()
    devices.wait(120.0)
    stage.client.consume_all(stage.telemetry, until=30_500)
    (small_disk / "filler").unlink()
    await_drained(bridge)
    bridge.wait_ready(QUIET_DEADLINE_S)
    reckoning = stage.prove(bridge)

    report(reckoning)


@pytest.mark.parametrize("output", list(OUTPUTS))
def test_a_standard_output_that_takes_nothing_stops_nothing(
    stage: Stage,
    victim: KafkaProcess,
    start_prefixed: Callable[..., PrefixedBridge],
    output: str,
) -> None:
    become = BECOME.format(OUTPUTS[output])
    bridge = start_prefixed([sys.executable, "-c", become], log={"level": "debug"})
    bridge.wait_ready(QUIET_DEADLINE_S)
    devices = stage.devices(window=500)

    devices.publish(fleet(DEVICES, 1_000))
    victim.freeze()
    devices.publish(fleet(DEVICES, 1_000, first=1_000))
    await_spooled(bridge, 1_000)
    victim.thaw()
    bridge.wait_ready(QUIET_DEADLINE_S)
    reckoning = stage.prove(bridge)

    report(f"{bridge.metric('bridge_log_lines_lost_total'):.0f} lines lost; {reckoning}")
    assert 0 == bridge.stop()


def test_a_second_bridge_on_one_spool_is_refused_with_pid_and_path(
    stage: Stage, tmp_path: Path
) -> None:
    first = stage.start()
    second = BridgeProcess(
        tmp_path / "second",
        stage.config(mqtt={"client_id": stage.client_id}),
        env={"STATE_DIRECTORY": str(first.directory / "state")},
    )

    second.start()
    code = second.wait(QUIET_DEADLINE_S)

    said = second.output()
    report(said)
    assert 78 == code
    assert str(first.pid) in said
    assert str(first.directory / "state") in said
    assert 200 == live_status(first)
    stage.devices().publish(fleet(5, 50))
    stage.prove(first)


def test_a_spool_of_a_newer_format_is_refused_and_untouched(
    stage: Stage, victim: KafkaProcess
) -> None:
    bridge = stage.start()
    victim.freeze()
    stage.devices().publish(fleet(DEVICES, 500))
    await_spooled(bridge, 500)
    bridge.stop()
    path = Path(spool_path(bridge))
    set_format(path, 99)
    before = contents(path.parent)

    bridge.start()
    code = bridge.wait(QUIET_DEADLINE_S)
    after = contents(path.parent)
    set_format(path, 1)
    victim.thaw()
    bridge.start()
    reckoning = stage.prove(bridge)

    report(f"{bridge.output().splitlines()[-1][:200]}; {reckoning}")
    assert 78 == code
    assert "has format 99, this version reads up to 2" in bridge.output()
    assert before == after


def test_a_spool_of_the_previous_format_is_drained(stage: Stage, links: Links) -> None:
    bridge = stage.start()
    devices = stage.devices(window=500)
    devices.publish(fleet(DEVICES, 500))
    stage.await_nothing_in_flight(bridge)
    # Refused, not frozen: Kafka has none of the rows, whose keys format 0 does not know.
    links.kafka.refuse()
    links.kafka.cut()
    devices.publish(fleet(DEVICES, 1_500, first=500))
    await_spooled(bridge, 1_500)
    bridge.stop()
    make_format_0(Path(spool_path(bridge)), bridge.events("bridge_started")[0]["client_id"])

    links.kafka.heal()
    bridge.start()
    opened = bridge.wait_for_event("spool_opened", count=2)
    bridge.wait_ready(QUIET_DEADLINE_S)
    stage.await_quiet(bridge)
    eventually(
        lambda: stage.client.count(stage.telemetry),
        lambda count: count >= 2_001,
        what="the old rows are in Kafka",
    )
    reckoning = stage.prove(bridge)

    report(f"{opened}; {reckoning}")
    assert 1_500 == opened["rows"]


def test_a_row_that_cannot_be_read_is_a_dead_letter_under_the_id_that_the_log_tells(
    stage: Stage, links: Links
) -> None:
    bridge = stage.start()
    links.kafka.refuse()
    links.kafka.cut()
    stage.devices().publish(fleet(5, 50))
    await_spooled(bridge, 50)
    bridge.stop()
    turned = turn_a_bit(Path(spool_path(bridge)))

    links.kafka.heal()
    bridge.start()
    told = bridge.wait_for_event("spool_row_unreadable", kafka_topic=stage.telemetry)
    stage.await_quiet(bridge)
    await_drained(bridge)
    found = stage.read()

    (letter,) = found.dead_letters
    assert 49 + 1 == len(found.telemetry), "49, and the probe of the scene"
    assert turned == letter.value
    assert told["dlq_id"].encode() == letter.header("dlq.id")
    assert b"internal_error" == letter.header("dlq.reason")
    assert len(turned) == told["row_bytes"]
    assert 0 == bridge.stop()


def turn_a_bit(path: Path) -> bytes:
    """Turn one bit of the newest row's record; return what is left of it."""
    database = sqlite3.connect(path)
    with database:
        newest = database.execute("SELECT max(sequence), record FROM row")
        sequence, record = newest.fetchone()
        turned = bytes([*record[:-1], record[-1] ^ 1])
        database.execute("UPDATE row SET record = ? WHERE sequence = ?", (turned, sequence))
    database.close()
    return turned


def contents(directory: Path) -> dict[str, bytes]:
    """Read what the spool's files hold, byte for byte.

    Looking into a database in WAL mode makes an index and an empty log beside it: they hold none.
    """
    return {
        each.name: held
        for each in directory.glob("spool.sqlite3*")
        if not each.name.endswith("-shm") and (held := each.read_bytes())
    }


def set_format(path: Path, number: int) -> None:
    database = sqlite3.connect(path)
    with database:
        database.execute("UPDATE meta SET value = ? WHERE name = 'format'", (str(number),))
    database.close()


def make_format_0(path: Path, client_id: str) -> None:
    """Write the rows as the first version did: topic in each row, one numbering, no identity."""
    database = sqlite3.connect(path)
    rows = database.execute(
        "SELECT topic.name, row.key, row.record FROM row"
        " JOIN topic ON topic.id = row.sequence >> 44 ORDER BY row.sequence"
    ).fetchall()
    database.close()
    for each in path.parent.glob("spool.sqlite3*"):
        each.unlink()
    database = sqlite3.connect(path)
    with database:
        database.executescript(
            "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;"
            "CREATE TABLE row (sequence INTEGER PRIMARY KEY AUTOINCREMENT,"
            " kafka_topic TEXT NOT NULL, key BLOB NOT NULL, record BLOB NOT NULL);"
        )
        database.execute("INSERT INTO meta VALUES ('format', '0'), ('client_id', ?)", (client_id,))
        database.executemany("INSERT INTO row (kafka_topic, key, record) VALUES (?, ?, ?)", rows)
    database.close()
