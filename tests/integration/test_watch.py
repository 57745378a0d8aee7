"""Silence judged from Kafka: two bridges that each hear a part, one watch and more of them."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bridge.errors import ExitCode
from tests.integration.scene import QUIET_DEADLINE_S, Scene
from tests.integration.speakers import (
    INTERVAL_S,
    MQTT,
    SILENCE,
    Alerts,
    Mortal,
    Speakers,
    with_presence,
)
from tests.support.bridge_process import BridgeProcess, Config
from tests.support.eventually import eventually, let_last

DEVICES = [f"device-{number}" for number in range(25)]
"""An odd number, so that each device speaks to both bridges in turn."""
SITES = ("north", "south")
PARTITIONS = 8
JUDGED_S = 3 * INTERVAL_S + 10.0
"""By then whoever was to be told is told: five seconds more than by the bridge itself."""
StartWatch = Callable[[Config], BridgeProcess]


@pytest.fixture
def alerts(scene: Scene, unique_name: Callable[[str], str]) -> Alerts:
    scene.create_topics(PARTITIONS)
    return Alerts(scene.client, unique_name("alerts"))


@pytest.fixture
def start_watch(tmp_path: Path) -> Iterator[StartWatch]:
    """Run `watch` with a configuration; killed at the end of the test if still alive."""
    watches: list[BridgeProcess] = []

    def start(config: Config) -> BridgeProcess:
        directory = tmp_path / f"watch-{len(watches)}"
        watches.append(BridgeProcess(directory, config, command="watch"))
        watches[-1].start()
        return watches[-1]

    yield start
    for watch in watches:
        watch.kill()


def config_of(scene: Scene, alerts: Alerts) -> dict[str, Any]:
    silence = {
        **SILENCE,
        "kafka_topic": alerts.kafka_topic,
        "source": "kafka",
        "watch_group": f"{scene.client_id}-watch",
        "watch_back_s": 600.0,
    }
    return scene.config(mqtt=MQTT, silence=silence)


def start_bridges(scene: Scene, config: dict[str, Any]) -> list[BridgeProcess]:
    bridges = [
        scene.spawn(
            **{
                **config,
                "mqtt": {**config["mqtt"], "client_id": f"{scene.client_id}-{site}"},
                "route": {"filter": f"{site}/+/telemetry"},
            }
        )
        for site in SITES
    ]
    for each in bridges:
        each.wait_ready(QUIET_DEADLINE_S)
    return bridges


def await_caught_up(watch: BridgeProcess, *, times: int = 1) -> None:
    watch.wait_for_event("watch_caught_up", count=times, deadline_s=90.0)


@pytest.mark.slow
def test_each_silence_is_told_once_whoever_owns_the_device(
    scene: Scene, alerts: Alerts, start_watch: StartWatch
) -> None:
    config = config_of(scene, alerts)
    bridges = start_bridges(scene, config)
    with Speakers(scene.devices(), DEVICES, sites=SITES) as fleet:
        one = start_watch(config)
        await_caught_up(one)
        let_last(5 * INTERVAL_S)  # Their intervals are learned.
        fleet.silence("device-0")
        alerts.await_told(("device_silence", "device-0"))

        two = start_watch(config)
        await_caught_up(two)
        await_caught_up(one, times=2)
        fleet.silence("device-1", "device-2", "device-3")
        gone = [("device_silence", f"device-{number}") for number in range(4)]
        alerts.await_told(*gone)
        let_last(JUDGED_S)
        assert gone == alerts.told()

        assert 0 == one.stop()
        await_caught_up(two, times=2)
        fleet.wake("device-0")
        back = [("device_recovered", "device-0")]
        alerts.await_told(*back, *gone)
        for each in bridges:
            assert 0 == each.stop()
        let_last(JUDGED_S)
        for each in bridges:
            each.start()
            each.wait_ready(QUIET_DEADLINE_S)
        let_last(JUDGED_S)
        assert [*back, *gone] == alerts.told(), "an outage of the bridges is no silence"

        two.kill()
        fleet.wake("device-1", "device-2", "device-3")
        three = start_watch(config)
        await_caught_up(three)
        back += [("device_recovered", f"device-{number}") for number in range(1, 4)]
        alerts.await_told(*back, *gone)
        let_last(JUDGED_S)
        assert sorted([*back, *gone]) == alerts.told()

    assert 0 == three.stop()
    shares = (one.events("watch_assigned")[-1], two.events("watch_assigned")[0])
    owned = [partition for each in shares for partition in each["partitions"]]
    assert list(range(PARTITIONS)) == sorted(owned), "each has one owner"
    assert all(each["partitions"] for each in shares)
    assert all(f"{scene.client_id}-watch" == each["client_id"] for each in alerts.records())
    (silent,) = one.events("device_silent", device_id="device-0")
    assert INTERVAL_S == silent["expected_interval_s"]


@pytest.mark.slow
def test_a_will_in_kafka_is_told_and_a_topic_with_other_partitions_is_refused_until_mended(
    scene: Scene,
    alerts: Alerts,
    start_watch: StartWatch,
    start_bridge: Callable[[Config], BridgeProcess],
    unique_name: Callable[[str], str],
) -> None:
    status = scene.client.create_topic(unique_name("status"), 4)
    config = with_presence(config_of(scene, alerts), status)
    start_bridge(config).wait_ready(QUIET_DEADLINE_S)
    watch = start_watch(config)
    refused = watch.wait_for_event("watch_partitions_differ")
    assert f"{status}: 4" in refused["error"]
    scene.client.add_partitions(status, PARTITIONS)
    mortal = Mortal("device-0", scene.mosquitto.port)
    with Speakers(scene.devices(), DEVICES) as fleet:
        mortal.live()
        await_caught_up(watch)

        fleet.silence("device-0")
        mortal.die()
        alerts.await_told(("device_offline", "device-0"))
        let_last(JUDGED_S)
        mortal.live()
        alerts.await_told(("device_offline", "device-0"), ("device_online", "device-0"))
    assert 0 == watch.stop()
    mortal.die()


@pytest.mark.slow
def test_a_watch_waits_for_kafka_and_for_its_topics_and_stops_at_once(
    scene: Scene, unique_name: Callable[[str], str], start_watch: StartWatch
) -> None:
    alerts = unique_name("alerts")
    silence = {**SILENCE, "kafka_topic": alerts, "source": "kafka"}
    nowhere = start_watch(
        {**scene.config(silence=silence), "kafka": {"bootstrap_servers": "127.0.0.1:1"}}
    )
    absent = start_watch(scene.config(silence=silence))

    unreachable = nowhere.wait_for_event("watch_unavailable")
    missing = absent.wait_for_event("watch_unavailable")

    assert "_TRANSPORT" in unreachable["error"]
    assert f"{scene.telemetry}: UNKNOWN_TOPIC_OR_PART" == missing["error"]
    assert 0 == absent.stop()
    assert 0 == nowhere.stop()


def test_a_configuration_that_lets_the_bridges_judge_is_refused(
    scene: Scene, start_watch: StartWatch
) -> None:
    watch = start_watch(scene.config())

    code = watch.wait()

    assert ExitCode.CONFIGURATION == code
    assert 'silence.source: "mqtt"' in watch.output()
    assert eventually(watch.output).count("\n") == 1
