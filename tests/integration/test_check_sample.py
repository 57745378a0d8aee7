"""`check --sample` on a real Kafka: what lies there judged by other rules, and no trace left."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient

from bridge.errors import ExitCode
from tests.integration.dlq_stand import RECALLED, REPOSITORY, DlqStand, Ran, finish, reading
from tests.support.bridge_process import to_toml
from tests.support.kafka_choice import ChosenKafka

TRIAL = {"ranges": {"temperature": [0, 30]}, "firmware_recalled": [">=2.0,<2.1"]}


@pytest.fixture
def stand(kafka: ChosenKafka, tmp_path: Path, unique_name: Callable[[str], str]) -> DlqStand:
    return DlqStand(kafka, tmp_path, unique_name)


def check(stand: DlqStand, *words: str) -> Ran:
    """Run the command as its users do."""
    command = [sys.executable, "-m", "bridge", "check", "--config", str(stand.config), *words]
    env = {k: v for k, v in os.environ.items() if not k.startswith("BRIDGE_")}
    env |= {"PYTHONPATH": str(REPOSITORY)}
    return finish(
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env)
    )


def lines(ran: Ran) -> dict[str, list[dict[str, Any]]]:
    """Read JSON lines, by their type."""
    assert ExitCode.OK == ran.code, ran.errors
    found: dict[str, list[dict[str, Any]]] = {"source": [], "difference": [], "summary": []}
    for line in ran.output.splitlines():
        tree = json.loads(line)
        found[tree.pop("type")].append(tree)
    return found


def groups(ran: Ran) -> dict[str, int]:
    return {
        " ".join(each[name] for name in ("change", "reason", "firmware")): each["readings"]
        for each in lines(ran)["difference"]
    }


def groups_known(stand: DlqStand) -> set[str]:
    """Ask the cluster which consumer groups it has ever had."""
    admin = AdminClient({"bootstrap.servers": stand.kafka.bootstrap})
    return {each.group_id for each in admin.list_consumer_groups().result(timeout=30).valid}


def test_rules_on_trial_are_tried_on_what_lies_in_both_topics(stand: DlqStand) -> None:
    stand.configure(shadow=TRIAL, validation={"ranges": {"temperature": [-50, 35]}})
    ranges = {"temperature": (-50.0, 35.0)}
    stand.write((reading(n, firmware="3.0") for n in range(40)), ranges=ranges)
    stand.write((reading(n) for n in range(40, 50)), ranges=ranges)
    stand.write(
        (reading(n, temperature=33.0, firmware="3.0") for n in range(50, 57)), ranges=ranges
    )
    stand.write(
        (reading(n, temperature=36.0, firmware="3.0") for n in range(57, 60)),
        ranges=ranges,
        semantic="dlq",
    )
    before = groups_known(stand)

    ran = check(stand, "--sample", "1000", "--json")

    assert {
        f"newly_fails firmware_recalled {RECALLED}": 10,
        "newly_fails out_of_range 3.0": 7,
    } == groups(ran)
    (summary,) = lines(ran)["summary"]
    assert ("[validation]", "[shadow]", 60) == (
        summary["today"],
        summary["then"],
        summary["judged"],
    )
    assert {"newly_fails": 7, "unchanged": 3} == summary["by_reason"]["out_of_range"]
    assert {stand.telemetry: (57, 57), stand.dead_letters: (3, 3)} == {
        each["kafka_topic"]: (each["records"], each["judged"]) for each in lines(ran)["source"]
    }
    assert before == groups_known(stand)


def test_a_configuration_is_compared_with_the_one_in_force(stand: DlqStand) -> None:
    stand.write((reading(n, temperature=n) for n in range(40, 60)), ranges={"temperature": (0, 50)})
    running = stand.directory / "running.toml"
    running.write_text(to_toml({"validation": {"ranges": {"temperature": [0, 50]}}}))
    stand.configure(validation={"ranges": {"temperature": [45, 55]}})

    ran = check(stand, "--sample", "1000", "--against", str(running), "--topic", stand.telemetry)

    assert ExitCode.OK == ran.code, ran.errors
    text = " ".join(ran.output.split())
    assert "of 20 readings 5 fail newly, 5 pass newly, 10 are unchanged" in text
    assert f"newly_fails out_of_range other {RECALLED} 5 25.0%" in text
    assert ", below 45, the lowest allowed (validation.ranges)" in text
    assert f"newly_passes out_of_range other {RECALLED} 5 25.0%" in text


def test_only_the_last_records_are_read_and_only_those_from_a_time_on(stand: DlqStand) -> None:
    stand.configure(shadow={"metrics_required": ["missing"]})
    stand.write(map(reading, range(200)))
    topic = ["--topic", stand.telemetry, "--json"]

    last = lines(check(stand, "--sample", "20", *topic))
    none = lines(check(stand, "--sample", "20", "--since", "2999-01-01", *topic))
    all_of_it = lines(check(stand, "--sample", "9999", "--since", "2020-01-01", *topic))

    assert [20, 0, 200] == [each["summary"][0]["judged"] for each in (last, none, all_of_it)]
    assert {"newly_fails": 20} == last["summary"][0]["by_reason"]["schema_mismatch"]


def test_a_topic_that_is_not_there_is_told_with_a_remedy(stand: DlqStand) -> None:
    stand.configure(shadow={"metrics_max": 9})

    ran = check(stand, "--sample", "5", "--topic", "no-such-topic")

    assert ExitCode.UNAVAILABLE == ran.code
    assert "name another with --topic" in ran.errors


def test_hostile_records_and_firmware_are_escaped(stand: DlqStand) -> None:
    stand.configure(shadow={"metrics_required": ["missing"]})
    stand.write([reading(1, firmware="\x1b[2J\u202e")])
    stand.kafka.client.produce(stand.telemetry, [b"\x00", b'{"metrics":{}}', b"[1"], key=b"\x1b")

    ran = check(stand, "--sample", "100")

    assert ExitCode.OK == ran.code, ran.errors
    assert "\\x1b[2J\\u202e" in ran.output
    assert ran.output.replace("\n", "").isprintable()
    assert "4 records, 1 of them judged" in ran.output
