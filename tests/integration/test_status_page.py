"""The status page as a person sees it, in a real browser, fed by a real bridge."""

import itertools
import os
import signal
from collections.abc import Callable, Iterator
from itertools import chain, islice
from pathlib import Path

import pytest

from tests.integration.scene import QUIET_DEADLINE_S, Scene
from tests.integration.speakers import INTERVAL_S, MQTT, SILENCE, Speakers
from tests.support.bridge_process import BridgeProcess
from tests.support.chromium import BrowserPage, Chromium, PageError
from tests.support.devices import DeviceMessage, fleet
from tests.support.eventually import eventually, let_last
from tests.support.kafka_cluster import KafkaProcess
from tests.support.processes import free_port

DESKTOP = (1440, 900)
PHONE = (360, 740)
MARK = "onerror=window.pwned=1"
HOSTILE_ID = f"<img src=x {MARK}>"
HOSTILE_PAYLOAD = f"</pre></script><script>window.pwned=1</script><svg {MARK}>".encode()
LETTERS = "#letters"
PICTURES = "BRIDGE_TEST_PICTURES"
"""Where the pictures are to go; docs/status-page.md has some of them."""


@pytest.fixture
def page(chromium: Chromium) -> Iterator[BrowserPage]:
    with chromium.open_page() as page:
        page.resize(*DESKTOP)
        yield page


@pytest.fixture
def take_pictures(page: BrowserPage, tmp_path: Path) -> Callable[[str], None]:
    """Take the page on a desk and on a phone; where the environment says, if it does."""
    directory = Path(os.environ.get(PICTURES) or tmp_path / "pictures")

    def take(name: str) -> None:
        page.prefer("light")
        page.screenshot(directory / f"{name}-desktop.png")
        page.prefer("dark")
        page.screenshot(directory / f"{name}-desktop-dark.png")
        page.resize(*PHONE, is_phone=True, scale=1.5)
        page.screenshot(directory / f"{name}-phone-dark.png")
        page.prefer("light")
        page.screenshot(directory / f"{name}-phone.png")
        assert PHONE[0] == page.evaluate("document.documentElement.scrollWidth"), "no scrolling"
        page.resize(*DESKTOP)

    return take


def address(bridge: BridgeProcess, person: str = "") -> str:
    return f"http://{person}127.0.0.1:{bridge.ops_port}/"


def number(page: BrowserPage, selector: str) -> float:
    return float(page.text(selector).replace(",", "").replace("\N{EN DASH}", "0"))


def await_polls(page: BrowserPage) -> None:
    """Let the lines grow, where somebody wants pictures; the tests need a few points only."""
    wanted = page.evaluate("seen.polls") + (40 if os.environ.get(PICTURES) else 2)
    eventually(
        lambda: page.evaluate("seen.polls"),
        lambda polls: polls >= wanted,
        what="the page asked again and again",
        deadline_s=QUIET_DEADLINE_S,
        poll_s=0.1,
    )


def await_number(page: BrowserPage, selector: str, above: float) -> None:
    eventually(
        lambda: number(page, selector),
        lambda seen: seen > above,
        what=f"{selector} is above {above}",
        poll_s=0.1,
    )


def broken() -> Iterator[DeviceMessage]:
    """Yield what becomes a dead letter, for one reason or another."""
    for number in itertools.count():
        pump = f"pump-{number % 3}"
        texts = (
            f'{{"device_id": "{pump}", "metrics": {{"flow": {number}',
            f'{{"device_id": "{pump}", "metrics": {{"flow": {number}}}}}',
            f'{{"device_id": "{pump}", "timestamp": {number}, "metrics": {{"flow": 1}}}}',
        )
        topic = f"devices/{pump}/telemetry"
        yield DeviceMessage(topic=topic, payload=texts[number % 7 % 3].encode())


def mixed_fleet() -> Iterator[DeviceMessage]:
    """Yield good telemetry without end, and one in thirty that is none."""
    good, bad = fleet(50), broken()
    while True:
        yield from chain(islice(good, 29), islice(bad, 1))


@pytest.mark.slow
def test_the_page_tells_of_an_idle_bridge_of_load_and_of_an_outage(
    victim_scene: Scene,
    victim: KafkaProcess,
    page: BrowserPage,
    take_pictures: Callable[[str], None],
) -> None:
    scene = victim_scene
    scene.create_topics()
    bridge = scene.start(
        mqtt={"client_id": "plant-north", "broker_queue_messages": 100_000},
        spool={"after_s": 1.0, "bytes_max": 100_000_000},
        ops={"examples": True},
    )

    page.open(address(bridge))
    page.await_text("#verdict-text", "no messages come at the moment")
    assert "Ready" == page.text("#verdict-word")
    assert "✓ subscribed" in page.text('[data-part="mqtt"]')
    assert "None." == page.text("#letters-none")
    take_pictures("idle")

    devices = scene.devices()
    devices.start(mixed_fleet(), rate_per_s=300)
    page.await_text("#verdict-text", "Messages flow to Kafka.")
    await_number(page, "#settled-now", 10)
    await_polls(page)
    page.await_text("#latency-p99", "s")
    page.await_text(LETTERS, "timestamp_old")
    page.await_text("#top-errors", "pump-1")
    page.evaluate("document.querySelector('[data-reason=schema_mismatch] summary').click()")
    page.await_text("[data-reason=schema_mismatch]", '{"device_id": "pump-1", "metrics": {"flow"')
    take_pictures("load")

    victim.freeze()
    page.await_text("#verdict-word", "Not ready: Kafka is away")
    await_number(page, "#spool-rows", 500)
    await_polls(page)
    page.await_text("#budget-text", "/s", deadline_s=QUIET_DEADLINE_S)
    assert "acknowledged from the disk" in page.text("#verdict-text")
    assert "✕ away" in page.text('[data-part="kafka"]')
    assert page.evaluate("document.title").startswith("✕ ")
    take_pictures("outage")

    victim.thaw()
    page.await_text("#verdict-word", "Ready", deadline_s=QUIET_DEADLINE_S)
    page.await_text("#verdict-text", "Messages flow to Kafka.", deadline_s=QUIET_DEADLINE_S)
    devices.stop()
    assert "all accounted for" == page.text("#residue")
    assert [] == page.complaints
    assert {"", "status"} == {each.removeprefix(address(bridge)) for each in page.requests}


def test_the_verdict_says_for_each_trouble_what_becomes_of_messages_and_what_to_do(
    scene: Scene, page: BrowserPage
) -> None:
    scene.create_topics()
    bridge = scene.start()
    page.open(address(bridge))
    page.await_text("#verdict-word", "Ready")

    def judged(change: str) -> tuple[str, str, str, str]:
        """Judge what the bridge told last, with one thing changed."""
        found = page.evaluate(
            f"(() => {{ const s = structuredClone(seen.last); {change}; return judge(s); }})()"
        )
        return found["tone"], found["word"], found["text"], found["action"]

    def fails(part: str, state: str) -> str:
        return f"Object.assign(s.checks.{part}, {{ok: false, state: '{state}', since_s: 90}})"

    for change, word, text, action in (
        (fails("mqtt", "mqtt_away"), "the MQTT broker is away", "Nothing is received", "way to it"),
        (fails("mqtt", "mqtt_refuses"), "broker refuses", "holds what devices send", "names below"),
        (fails("kafka", "kafka_away"), "Kafka is away", "acknowledged from the disk", "Look at"),
        (fails("kafka", "kafka_refuses"), "Kafka refuses", "in order later", "topic named below"),
        (
            f"{fails('kafka', 'kafka_away')}; s.spool.state = 'off'",
            "Kafka is away",
            "There is no spool: nothing is acknowledged",
            "",
        ),
        (
            f"{fails('kafka', 'kafka_away')}; {fails('spool', 'spool_full')}",
            "Kafka is away, the spool is full",
            "Nothing more is acknowledged for want of room",
            "raise spool.bytes_max",
        ),
        (
            fails("spool", "spool_failed"),
            "the spool fails",
            "The disk takes nothing",
            "file system",
        ),
    ):
        told = judged(change)
        assert "bad" == told[0]
        assert told[1].startswith("Not ready: ")
        assert (word in told[1], text in told[2], action in told[3]) == (True, True, True), told
        assert told[2].startswith("For 90 s now. ")
    assert ("warn", "Ready, and draining the spool") == judged("s.spool.rows = 7")[:2]
    assert ("good", "Ready") == judged("")[:2]
    assert ["Conservation is broken by 3"] == page.evaluate(
        "notesOn(Object.assign(structuredClone(seen.last), {conservation: {residue: 3}}))"
        ".map(each => each.split(':')[0])"
    )


def test_a_configuration_that_was_refused_and_one_that_wants_a_restart_are_noted(
    scene: Scene, page: BrowserPage
) -> None:
    scene.create_topics()
    bridge = scene.start()
    page.open(address(bridge))
    page.await_text("#verdict-word", "Ready")
    assert "" == page.text("#notes")

    bridge.write_config({**scene.config(), "limits": {"burst": -1}})
    bridge.send_signal(signal.SIGHUP)
    refused = page.await_text("#notes", "The configuration was refused at ")
    assert "limits.burst" in refused

    bridge.write_config(scene.config(ops={"examples": True}))
    bridge.send_signal(signal.SIGHUP)
    page.await_text("#notes", "The configuration has values that want a restart: ops.examples")
    assert [] == page.complaints


def test_what_a_person_has_selected_stays_selected(scene: Scene, page: BrowserPage) -> None:
    scene.create_topics()
    bridge = scene.start()
    page.open(address(bridge))
    page.await_text('[data-part="kafka"]', "for ")
    page.evaluate(
        "getSelection().selectAllChildren(document.querySelector('[data-part=kafka] h2'))"
    )

    await_polls(page)

    assert "Kafka" == page.evaluate("getSelection().toString()")
    assert [] == page.complaints


def test_a_bridge_that_is_gone_is_told_and_what_was_known_is_marked_as_old(
    scene: Scene, page: BrowserPage
) -> None:
    scene.create_topics()
    bridge = scene.start()
    page.open(address(bridge))
    page.await_text("#verdict-word", "Ready")

    bridge.kill()
    page.await_text("#verdict-word", "The bridge does not answer")
    assert "The last answer came" in page.text("#verdict-text")
    assert "lost" == page.evaluate("document.body.dataset.link")
    assert scene.client_id == page.text("#client-id"), "what was known stays"

    bridge.start()
    page.await_text("#verdict-word", "Ready", deadline_s=QUIET_DEADLINE_S)
    assert "ok" == page.evaluate("document.body.dataset.link")
    assert all("net::ERR_" in each for each in page.complaints), page.complaints


def test_what_a_device_calls_itself_and_what_it_sends_is_text_and_nothing_else(
    scene: Scene, page: BrowserPage
) -> None:
    scene.create_topics()
    bridge = scene.start(ops={"examples": True})
    hostile = DeviceMessage(topic=f"devices/{HOSTILE_ID}/telemetry", payload=HOSTILE_PAYLOAD)
    page.open(address(bridge))
    scene.devices().publish([hostile])
    page.await_text(LETTERS, "device_id_invalid")

    page.evaluate("for (const each of document.querySelectorAll('summary')) each.click()")
    shown = page.await_text(LETTERS, HOSTILE_ID)

    assert HOSTILE_PAYLOAD.decode() in shown
    assert HOSTILE_ID in page.await_text("#top-errors", HOSTILE_ID)
    assert 0 == page.evaluate(
        "document.querySelectorAll('main img, main script, main pre svg').length"
    )
    assert None is page.evaluate("window.pwned")
    assert [] == page.complaints


def test_without_examples_nothing_of_a_payload_is_told(scene: Scene, page: BrowserPage) -> None:
    scene.create_topics()
    bridge = scene.start()
    secret = DeviceMessage(topic="devices/d-1/telemetry", payload=b"the door code is 4711")
    page.open(address(bridge))

    scene.devices().publish([secret])

    page.await_text(LETTERS, "not_decodable")
    assert "Examples are off" in page.text("#letters-none")
    answer = bridge.get("/status")
    assert answer is not None
    assert "4711" not in answer.body
    assert None is answer.json()["dead_letter_examples"]


def test_off_loopback_a_browser_gets_in_with_the_token_as_its_password(
    scene: Scene, page: BrowserPage, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("correct horse\n")
    token.chmod(0o600)
    scene.create_topics()
    port = free_port()
    bridge = scene.spawn(ops={"token": {"file": str(token)}, "listen": f"0.0.0.0:{port}"})
    bridge.ops_port = port
    bridge.wait_ready(QUIET_DEADLINE_S)

    for person in ("", "anybody:wrong%20horse@"):
        with pytest.raises(PageError, match="ERR_INVALID_AUTH_CREDENTIALS"):
            page.open(address(bridge, person))
    page.open(address(bridge, "anybody:correct%20horse@"))

    page.await_text("#verdict-word", "Ready")
    assert 200 == page.status_of[f"{address(bridge)}status"]
    assert 1 <= len(bridge.events("ops_token_refused"))
    assert "horse" not in bridge.output()


@pytest.mark.slow
def test_silent_devices_are_named_and_since_when(scene: Scene, page: BrowserPage) -> None:
    scene.create_topics()
    bridge = scene.start(mqtt=MQTT, silence=SILENCE)
    names = [f"device-{each}" for each in range(5)]
    page.open(address(bridge))
    with Speakers(scene.devices(), names) as speakers:
        page.await_text("#silent-gloss", "5 live")
        let_last(2 * INTERVAL_S)  # By then the intervals are surely known.

        speakers.silence("device-3")

        page.await_text("#silent", "device-3")
        assert "silent, heard " in page.text("#silent")
        assert "1 silent" in page.text("#silent-gloss")
        assert "device-2" not in page.text("#silent")
    assert [] == page.complaints
