"""Alerts of deploy/monitoring fire from the condition itself: a real bridge, its own samples.

Kafka is librdkafka's own in process, which can be slow, refuse and go away within a second.
"""

import itertools
import math
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bridge.runtime.kernel_clock import ask_kernel
from tests.integration.scene import QUIET_DEADLINE_S, Scene, await_oldest_unsettled
from tests.integration.speakers import INTERVAL_S, MQTT, SILENCE, Speakers
from tests.support.bridge_process import BridgeProcess, Config
from tests.support.certificates import PROJECT, make_certificates
from tests.support.devices import DeviceMessage, Publisher, fleet, telemetry
from tests.support.eventually import eventually, let_last
from tests.support.in_process_kafka import InProcessKafka
from tests.support.kafka_client import KafkaClient
from tests.support.mosquitto import MosquittoProcess
from tests.support.processes import free_port
from tests.support.promtool import Promtool
from tests.support.scrapes import Scrapes

RULES = PROJECT / "deploy" / "monitoring" / "rules.yml"
A_MINUTE = 100
"""Messages that stand for a minute: 1.7 a second."""
LARGE_BYTES = 5_000
SMALL_KAFKA: dict[str, Any] = {"properties": {"message.max.bytes": 4_000}}
_NUMBERS = itertools.count()


@pytest.fixture
def kafka_here() -> Iterator[InProcessKafka]:
    kafka = InProcessKafka()
    yield kafka
    kafka.close()


@pytest.fixture
def scene(make_scene: Callable[[KafkaClient], Scene], kafka_here: InProcessKafka) -> Scene:
    made = make_scene(kafka_here.client)
    for topic in (made.telemetry, made.dead_letters):
        kafka_here.create_topic(topic)
    return made


@pytest.fixture
def scrapes(promtool: Promtool, tmp_path: Path) -> Scrapes:
    return Scrapes(promtool, RULES, tmp_path)


def good(messages: int) -> list[DeviceMessage]:
    """Make telemetry that was never sent before."""
    return [telemetry(f"device-{each % 20}", next(_NUMBERS)) for each in range(messages)]


def bad(messages: int) -> list[DeviceMessage]:
    """Make what no rule accepts."""
    return [
        DeviceMessage(topic="devices/device-0/telemetry", payload=b"{%d" % next(_NUMBERS))
        for _ in range(messages)
    ]


def large(messages: int) -> list[DeviceMessage]:
    """Make telemetry that is larger than Kafka takes."""
    return [telemetry("device-0", next(_NUMBERS), note="x" * LARGE_BYTES) for _ in range(messages)]


class Field:
    """A bridge that works, its devices, and what is scraped of it."""

    def __init__(self, bridge: BridgeProcess, devices: Publisher, scrapes: Scrapes) -> None:
        self.bridge = bridge
        self._devices = devices
        self._scrapes = scrapes

    def publish(self, messages: list[DeviceMessage]) -> None:
        """Let devices publish."""
        self._devices.publish(messages)

    def pass_minutes(self, minutes: int, messages: Callable[[], list[DeviceMessage]]) -> None:
        """Let devices publish, the bridge settle it all, and Prometheus scrape, again and again."""
        for _ in range(minutes):
            self._devices.publish(messages())
            published = len(self._devices.ledger.acknowledged)
            eventually(
                lambda: self.bridge.metric("bridge_messages_settled_total"),
                lambda settled, wanted=published: settled >= wanted,  # type: ignore[misc]
                what=f"{published} messages are settled",
            )
            self._scrapes.take(self.bridge.metrics())


@pytest.fixture
def field(scene: Scene, scrapes: Scrapes) -> Callable[..., Field]:
    def make(**sections: Any) -> Field:
        return Field(scene.start(**sections), scene.devices(), scrapes)

    return make


def test_a_bridge_that_works_calls_nobody(field: Callable[..., Field], scrapes: Scrapes) -> None:
    working = field()

    working.pass_minutes(15, lambda: good(A_MINUTE))

    scrapes.assert_firing()


def test_a_fleet_of_which_a_tenth_sends_nonsense(
    field: Callable[..., Field], scrapes: Scrapes
) -> None:
    working = field()

    working.pass_minutes(17, lambda: good(90) + bad(10))

    scrapes.assert_firing("BridgeDevicesAtFault", "BridgeDeadLetters")


def test_records_that_kafka_never_takes(field: Callable[..., Field], scrapes: Scrapes) -> None:
    working = field(kafka=SMALL_KAFKA)

    working.pass_minutes(8, lambda: good(99) + large(1))

    scrapes.assert_firing("BridgeOwnFaults")


def test_a_fleet_that_sends_much_less(field: Callable[..., Field], scrapes: Scrapes) -> None:
    working = field()

    working.pass_minutes(11, lambda: good(A_MINUTE))
    working.pass_minutes(4, lambda: good(A_MINUTE // 2))

    scrapes.assert_firing("BridgeRateDropped")


def test_a_kafka_that_is_slow(
    field: Callable[..., Field], scrapes: Scrapes, kafka_here: InProcessKafka
) -> None:
    working = field()
    kafka_here.delay(1, 150)

    working.pass_minutes(9, lambda: good(10))

    scrapes.assert_firing("BridgeSlow", besides="")


@pytest.mark.slow
def test_kafka_away_and_no_spool(
    scene: Scene, scrapes: Scrapes, kafka_here: InProcessKafka
) -> None:
    bridge = scene.start(spool={"bytes_max": 0})
    kafka_here.take_down()
    scene.devices().publish(good(10))
    bridge.wait_not_ready()
    await_oldest_unsettled(bridge, 15.5)

    scrapes.take(bridge.metrics(), minutes=3)

    scrapes.assert_firing("BridgeNotReady", "BridgeOldestUnsettled")


def test_kafka_away_until_the_spool_is_nearly_full(
    scene: Scene, scrapes: Scrapes, kafka_here: InProcessKafka
) -> None:
    bridge = scene.start(spool={"bytes_max": 1_000_000, "after_s": 1.0})
    kafka_here.take_down()
    devices = scene.devices()
    devices.start(fleet(20), rate_per_s=500)
    bridge.wait_not_ready()

    samples = eventually(
        bridge.metrics,
        lambda seen: seen["bridge_spool_bytes"] > 0.8 * seen["bridge_spool_bytes_max"],
        what="the spool is nearly full",
        deadline_s=QUIET_DEADLINE_S,
    )
    devices.stop()
    scrapes.take(samples, minutes=3)

    scrapes.assert_firing("BridgeNotReady", "BridgeSpoolFilling", "BridgeOutageBudgetLow")


def test_load_that_is_shed(
    scene: Scene,
    scrapes: Scrapes,
    kafka_here: InProcessKafka,
    start_bridge: Callable[[Config], BridgeProcess],
) -> None:
    config = scene.config(mqtt={"receive_maximum": 20}, route={"priority": "low"})
    vital = {"filter": "vital/+/telemetry", "kafka_topic": scene.telemetry, "priority": "high"}
    bridge = start_bridge({**config, "route": [*config["route"], vital]})
    bridge.wait_ready()
    kafka_here.delay(1, 2_000)
    devices = scene.devices()
    devices.start(fleet(20), rate_per_s=100)

    samples = eventually(
        bridge.metrics, lambda seen: seen["bridge_shedding_level"] > 0, what="load is shed"
    )
    kafka_here.delay(1, 0)
    devices.stop()
    scrapes.take(samples, minutes=2)

    scrapes.assert_firing("BridgeShedding")


def test_a_session_that_the_mqtt_broker_lost(
    scene: Scene, scrapes: Scrapes, mosquitto: MosquittoProcess
) -> None:
    bridge = scene.start()
    scrapes.take(bridge.metrics(), minutes=15)
    scrapes.assert_firing()

    mosquitto.kill()
    mosquitto.start()
    bridge.wait_for_event("session_lost")
    bridge.wait_ready()
    scrapes.take(bridge.metrics())

    scrapes.assert_firing("BridgeGapFound")


def test_a_session_that_was_lost_while_the_bridge_was_away(
    scene: Scene, scrapes: Scrapes, mosquitto: MosquittoProcess
) -> None:
    bridge = scene.start()
    bridge.stop()
    mosquitto.kill()
    mosquitto.start()
    bridge.start()
    bridge.wait_for_event("session_lost")
    bridge.wait_ready()

    scrapes.take(bridge.metrics(), minutes=2)

    scrapes.assert_firing("BridgeGapFound")


def test_a_bridge_that_is_killed_again_and_again(scene: Scene, scrapes: Scrapes) -> None:
    bridge = scene.start()
    scrapes.take(bridge.metrics())

    bridge.kill()
    scrapes.take(bridge.metrics(), minutes=2)
    scrapes.assert_firing("BridgeDown")
    for _ in range(3):
        bridge.start()
        bridge.wait_ready()
        scrapes.take(bridge.metrics())
        bridge.kill()

    scrapes.assert_firing("BridgeRestarting")


@pytest.mark.parametrize(
    ("days", "alerts"),
    [
        (10, {"BridgeCertificateExpiresSoon"}),
        (-3, {"BridgeCertificateExpiresSoon", "BridgeCertificateExpiresToday"}),
    ],
    ids=["ten days left", "ended"],
)
def test_a_certificate_that_nobody_renewed(
    days: int, alerts: set[str], scene: Scene, scrapes: Scrapes, tmp_path: Path
) -> None:
    certificates = make_certificates(tmp_path / "certificates", "--days", str(days))
    tls = {
        "ca_file": certificates.ca_file,
        "cert_file": certificates.bridge.cert_file,
        "key_file": certificates.bridge.key_file,
    }
    bridge = scene.spawn(mqtt={"port": free_port(), "tls": tls})
    name = 'bridge_certificate_expiry_timestamp_seconds{link="mqtt"}'
    samples = eventually(
        bridge.metrics,
        lambda seen: name in seen and not math.isnan(seen[name]),
        what="the certificate is read",
    )

    scrapes.take(samples, minutes=3)

    scrapes.assert_firing("BridgeNotReady", *alerts)
    event = "certificate_expires_soon" if days > 0 else "certificate_expired"
    assert "mqtt" == bridge.wait_for_event(event)["link"]


@pytest.mark.slow
def test_a_fleet_that_falls_silent(
    scene: Scene,
    scrapes: Scrapes,
    kafka_here: InProcessKafka,
    unique_name: Callable[[str], str],
) -> None:
    many = [f"device-{number}" for number in range(40)]
    alerts = kafka_here.create_topic(unique_name("alerts"))
    bridge = scene.start(mqtt=MQTT, silence={**SILENCE, "kafka_topic": alerts})
    with Speakers(scene.devices(), many) as speakers:
        eventually(
            lambda: bridge.metric("bridge_devices", state="live"),
            lambda live: live == len(many),
            what="all devices are live",
        )
        let_last(2 * INTERVAL_S)  # By then it is known how often they speak.
        speakers.silence(*many[:30])
        samples = eventually(
            bridge.metrics, lambda seen: seen["bridge_fleet_silent"] == 1, what="it is silent"
        )

    scrapes.take(samples)

    scrapes.assert_firing("BridgeFleetSilent")


def test_a_configuration_that_cannot_be_used(scene: Scene, scrapes: Scrapes) -> None:
    bridge = scene.start()
    scrapes.take(bridge.metrics(), minutes=2)

    bridge.write_config(scene.config(limits={"burst": 0}))
    bridge.wait_for_event("reload_refused")
    scrapes.take(bridge.metrics(), minutes=2)

    scrapes.assert_firing("BridgeReloadRefused")


def test_books_that_do_not_balance(
    scene: Scene, scrapes: Scrapes, start_bridge: Callable[[Config], BridgeProcess]
) -> None:
    bridge = start_bridge(scene.config())
    bridge.stop()
    bridge.env["BRIDGE_FAULT_POINTS"] = "loop=miscount@2"
    bridge.start()
    samples = eventually(
        bridge.metrics,
        lambda seen: seen.get("bridge_conservation_residue") == 1,
        what="the books do not balance",
    )

    scrapes.take(samples, minutes=2)

    scrapes.assert_firing("BridgeConservationBroken")
    assert 70 == bridge.stop()
    assert 1 == bridge.events("conservation_broken")[-1]["residue"]


@pytest.mark.skipif(
    (kernel := ask_kernel()) is not None and bool(kernel.is_kept),
    reason="the kernel says that somebody keeps this host's clock, and then it is believed",
)
def test_a_host_whose_clock_the_whole_fleet_contradicts(
    field: Callable[..., Field], scrapes: Scrapes
) -> None:
    ahead = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    working = field()
    working.publish([telemetry(f"device-{each}", 0, timestamp=ahead) for each in range(10)])
    samples = eventually(
        working.bridge.metrics,
        lambda seen: seen["bridge_host_clock_trusted"] == 0,
        what="the clock is doubted",
    )

    scrapes.take(samples, minutes=2)

    scrapes.assert_firing("BridgeHostClockDoubted")


def test_neither_many_devices_nor_what_they_did_make_more_series(
    field: Callable[..., Field], promtool: Promtool
) -> None:
    working = field()
    counts = []
    for devices in (10, 2_000):
        working.pass_minutes(1, lambda each=devices: list(fleet(each, each)))  # type: ignore[misc]
        counts.append(len(working.bridge.metrics()))
    answer = working.bridge.get("/metrics")

    assert counts[0] == counts[1]
    assert answer is not None
    judged = promtool.check_metrics(answer.body)
    assert (True, "") == (judged.is_ok, judged.text)
