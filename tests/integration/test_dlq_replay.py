"""Dead letters come back: each once, whatever happens to the replay, and nothing else with them."""

import json
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bridge.errors import ExitCode
from tests.integration.dlq_stand import (
    RECALLED,
    DlqStand,
    by_place,
    finish,
    numbers,
    reading,
    replayed,
)
from tests.integration.scene import report
from tests.support.kafka_choice import ChosenKafka
from tests.support.processes import free_port

RULE = "firmware_recalled"


@pytest.fixture
def stand(kafka: ChosenKafka, tmp_path: Path, unique_name: Callable[[str], str]) -> DlqStand:
    return DlqStand(kafka, tmp_path, unique_name)


@pytest.mark.parametrize(
    ("letters", "where"), [(10_000, "replay_written@25"), (2_000, "replay_committed@5")]
)
def test_letters_come_back_once_each_though_the_replay_is_killed_half_way(
    stand: DlqStand, letters: int, where: str
) -> None:
    """The rule is withdrawn; a tenth of its letters are copies of what was forwarded."""
    point, _, at = where.partition("@")
    copies = letters // 10
    rejected = letters - copies
    rule = {"firmware_recalled": (RECALLED,)}
    stand.write(map(reading, range(rejected)), business="dlq", **rule)
    stand.write(map(reading, range(rejected, letters)), business="both", **rule)
    others = [reading(number, temperature=99.5) for number in range(letters, letters + 100)]
    stand.write(others, semantic="dlq", ranges={"temperature": (-50.0, 99.0)})
    letters_before = stand.read_dead_letters()

    stats = stand.run("stats", "--json").json()
    shown = stand.run("show", "--reason", RULE)
    dry = stand.replay("--reason", RULE, "--dry-run")
    untouched = stand.read_telemetry()
    killed = stand.run("replay", "--reason", RULE, faults=f"{point}=kill@{at}")
    half = stand.read_telemetry()
    resumed = stand.replay("--reason", RULE)
    again = stand.replay("--reason", RULE)
    records = stand.read_telemetry()

    report(stand.run("stats").output)
    report(resumed)
    assert {RULE: letters, "out_of_range": 100} == stats["by_reason"]
    assert [(RECALLED, letters + 100)] == [
        (each["name"], each["letters"]) for each in stats["firmware"]["top"]
    ]
    assert (copies, rejected + 100) == (stats["copies"], stats["replayable"])
    assert "outcome      telemetry record" in shown.output
    assert (rejected, copies) == (dry["replayed"], dry["left_out"]["copy"])
    assert copies == len(untouched)
    assert -signal.SIGKILL == killed.code
    assert copies < len(half) < letters
    assert resumed["resumed"]
    assert letters == resumed["replayed"] + len(half)
    assert (0, False) == (again["read"], again["resumed"])
    assert list(range(letters)) == numbers(records)
    assert list(range(rejected)) == numbers(replayed(records))
    assert by_place(letters_before) == by_place(stand.read_dead_letters())


def test_replay_of_one_reason_then_of_another_are_both_complete(stand: DlqStand) -> None:
    stand.write(map(reading, range(300)), business="dlq", firmware_recalled=(RECALLED,))
    hot = [reading(number, temperature=70.0) for number in range(300, 500)]
    stand.write(hot, semantic="dlq", ranges={"temperature": (-50.0, 60.0)})

    first = stand.replay("--reason", RULE)
    second = stand.replay("--reason", "out_of_range")
    everything = stand.replay()

    assert (300, 200) == (first["replayed"], second["replayed"])
    assert 500 == everything["left_out"]["known_already"]
    assert list(range(500)) == numbers(stand.read_telemetry())


def test_a_letter_that_fails_again_does_so_once_with_its_attempt_raised(stand: DlqStand) -> None:
    stand.write(map(reading, range(20)), business="dlq", firmware_recalled=(RECALLED,))
    rules = {"firmware_recalled": [RECALLED], "business": "dlq"}
    stand.configure(validation=rules)

    first, second = stand.replay(), stand.replay()

    letters = stand.read_dead_letters()
    attempts = [each.header("dlq.attempt") for each in letters]
    assert (20, 20, 20) == (first["failed_again"], second["read"], second["failed_again"])
    assert [20, 20, 20] == [attempts.count(str(number).encode()) for number in (1, 2, 3)]
    of_second = [each for each in letters if each.header("dlq.attempt") == b"2"]
    places = {f"{each.topic}/{each.partition}/{each.offset}".encode() for each in letters}
    assert {each.header("dlq.replay-of") for each in of_second} < places
    of_first = [each for each in letters if each.header("dlq.attempt") == b"1"]
    assert {each.header("dlq.received-at") for each in of_first} == {
        each.header("dlq.received-at") for each in of_second
    }
    assert [] == stand.read_telemetry()


def test_a_replay_that_was_killed_does_not_take_what_it_has_written_itself(
    stand: DlqStand,
) -> None:
    stand.write(map(reading, range(1_000)), business="dlq", firmware_recalled=(RECALLED,))
    stand.configure(validation={"firmware_recalled": [RECALLED], "business": "dlq"})

    stand.run("replay", faults="replay_committed=kill@2")
    resumed = stand.replay()

    attempts = [each.header("dlq.attempt") for each in stand.read_dead_letters()]
    assert resumed["resumed"]
    assert [1_000, 1_000] == [attempts.count(each) for each in (b"1", b"2")]


def test_a_second_replay_of_the_same_filter_takes_over_and_none_is_doubled(
    stand: DlqStand,
) -> None:
    stand.write(map(reading, range(400)), business="dlq", firmware_recalled=(RECALLED,))
    first = stand.start("replay", "--rate", "2")
    stand.kafka.client.consume_all(stand.telemetry, until=1)

    second = stand.replay()
    ran = finish(first)

    assert ExitCode.UNAVAILABLE == ran.code, ran.errors
    assert "another replay of the same filter was started and took over" in ran.errors
    assert 1 == len(ran.errors.splitlines())
    assert second["resumed"]
    assert list(range(400)) == numbers(stand.read_telemetry())


def test_ctrl_c_reports_what_was_done_and_the_same_command_goes_on(stand: DlqStand) -> None:
    stand.write(map(reading, range(400)), business="dlq", firmware_recalled=(RECALLED,))
    running = stand.start("replay", "--rate", "50")
    stand.kafka.client.consume_all(stand.telemetry, until=1)

    running.send_signal(signal.SIGINT)
    ran = finish(running)
    resumed = stand.replay()

    assert 130 == ran.code
    assert "stopped; the same command goes on from here" in ran.output
    assert "" == ran.errors
    assert resumed["resumed"]
    assert list(range(400)) == numbers(stand.read_telemetry())


def test_a_record_that_the_topic_refuses_is_a_letter_again_and_stops_no_other(
    stand: DlqStand, unique_name: Callable[[str], str]
) -> None:
    stand.telemetry = stand.kafka.client.create_topic(
        unique_name("narrow"), 1, {"max.message.bytes": "2000"}
    )
    stand.configure()
    packets = [reading(number) for number in range(100)]
    body = json.loads(packets[50].payload) | {"note": "x" * 4_000}
    packets[50] = type(packets[50])(payload=json.dumps(body).encode(), topic=packets[50].topic)
    stand.write(packets, business="dlq", firmware_recalled=(RECALLED,))

    done = stand.replay()

    letters = [each for each in stand.read_dead_letters() if each.header("dlq.attempt") == b"2"]
    assert (99, 1) == (done["replayed"], done["failed_again"])
    assert {"kafka_refused": 1} == done["dead_letters"]
    assert [each for each in range(100) if each != 50] == numbers(stand.read_telemetry())
    assert [packets[50].payload] == [each.value for each in letters]


def test_copies_come_too_where_they_are_asked_for_and_a_limit_is_gone_on_from(
    stand: DlqStand,
) -> None:
    stand.write(map(reading, range(30)), business="both", firmware_recalled=(RECALLED,))

    nothing = stand.replay()
    some = stand.replay("--include-copies", "--limit", "10")
    rest = stand.replay("--include-copies", "--rate", "1000")

    records = stand.read_telemetry()
    assert (0, 30) == (nothing["replayed"], nothing["left_out"]["copy"])
    assert [(10, False), (20, True)] == [(e["replayed"], e["complete"]) for e in (some, rest)]
    assert sorted(2 * list(range(30))) == numbers(records)
    assert list(range(30)) == numbers(replayed(records))
    assert all(b"warnings" not in (each.value or b"") for each in replayed(records))


def test_what_is_replayed_keeps_its_time_of_receipt_and_its_key(stand: DlqStand) -> None:
    stand.write([reading(1)], business="dlq", firmware_recalled=(RECALLED,))
    (letter,) = stand.read_dead_letters()

    stand.replay()

    (record,) = stand.read_telemetry()
    received = letter.header("dlq.received-at")
    assert received is not None
    assert received.decode() == json.loads(record.value or b"")["server_received_at"]
    assert letter.timestamp_ms == record.timestamp_ms
    assert letter.header("idempotency-key") == record.header("idempotency-key")
    place = f"{letter.topic}/{letter.partition}/{letter.offset}".encode()
    assert place == record.header("dlq.replay-of")
    assert (letter.key, b"application/json") == (record.key, record.header("content-type"))


def test_kafka_that_is_away_is_a_service_that_refused(stand: DlqStand) -> None:
    stand.configure(kafka={"bootstrap_servers": f"127.0.0.1:{free_port()}"})

    with ThreadPoolExecutor() as threads:
        answers = list(threads.map(stand.run, ("stats", "show", "replay")))

    for ran in answers:
        assert ExitCode.UNAVAILABLE == ran.code
        assert "could not be read" in ran.errors
        assert "kafka.bootstrap_servers" in ran.errors
