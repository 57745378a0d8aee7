"""The real parts as fixtures, the marks that follow from a test's place, the header's lines."""

import os
import re
import secrets
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import HealthCheck, settings

from tests.support import kafka_artefacts, kafka_choice
from tests.support.bridge_process import BridgeProcess, Config
from tests.support.chromium import MISSING as CHROMIUM_MISSING, Chromium, find_chromium
from tests.support.devices import DevicePublisher
from tests.support.kafka_artefacts import KafkaMissingError
from tests.support.kafka_choice import ChosenKafka
from tests.support.kafka_cluster import KafkaCluster, KafkaProcess
from tests.support.mosquitto import MosquittoProcess, find_mosquitto, mosquitto_version
from tests.support.promtool import MISSING as PROMTOOL_MISSING, Promtool, find_promtool

# A busy machine makes an example slow, and says nothing of the code: no test judges by time.
settings.register_profile("calm", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("calm")

_TESTS = Path(__file__).parent
_INTEGRATION_ROOMS = frozenset({"integration", "faults", "harness"})
_REAL_PARTS = frozenset({"kafka", "own_kafka", "own_cluster", "mosquitto", "start_bridge"})


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add what a fault suite of hours needs; docs/fault-suite.md describes it."""
    parser.addoption(
        "--long",
        action="store_true",
        help="fault tests at their full length, and those marked long: hours instead of minutes",
    )
    parser.addoption(
        "--seeds",
        type=int,
        default=2_000,
        help="histories of tests/simulation; any number more is another look",
    )


def pytest_configure() -> None:
    """Undo what a shell does to jobs in the background: their children would ignore Ctrl-C."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_report_header() -> list[str]:
    """Name the real parts that this run would use; nothing is started for it."""
    mosquitto = mosquitto_version() if find_mosquitto() else "not installed"
    return [f"kafka: {kafka_choice.describe_choice()}", f"mosquitto: {mosquitto}"]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark as integration whatever lies in such a room or asks for a real part; leave out long."""
    for item in items:
        room = item.path.relative_to(_TESTS).parts[0] if item.path.is_relative_to(_TESTS) else ""
        asks_for = _REAL_PARTS.intersection(getattr(item, "fixturenames", ()))
        if room in _INTEGRATION_ROOMS or asks_for:
            item.add_marker(pytest.mark.integration)
    if not config.getoption("--long"):
        too_long = [each for each in items if each.get_closest_marker("long") is not None]
        if too_long:
            config.hook.pytest_deselected(items=too_long)
            items[:] = [each for each in items if each not in too_long]


def _missing(what: str) -> NoReturn:
    """Skip where a person is missing a part; fail in CI, where a skip would hide it."""
    if os.environ.get("CI", "").lower() in {"1", "true", "yes"}:
        pytest.fail(f"{what} (CI is set: a missing part is an error)", pytrace=False)
    pytest.skip(what)


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChosenKafka]:
    """A real Kafka for the whole run; tests keep apart by their topic names."""
    try:
        chosen = kafka_choice.start_chosen(tmp_path_factory.mktemp("kafka"))
    except KafkaMissingError as error:
        _missing(f"no Kafka: {error}")
    yield chosen
    chosen.stop()


@pytest.fixture
def own_kafka(tmp_path: Path) -> Iterator[KafkaProcess]:
    """A Kafka of this test alone, not yet started, to be killed and frozen at will."""
    _fetch_kafka()
    process = KafkaProcess(tmp_path / "kafka")
    yield process
    process.remove()


@pytest.fixture
def own_cluster(tmp_path: Path) -> Iterator[KafkaCluster]:
    """Three Kafka nodes of this test alone, not yet started."""
    _fetch_kafka()
    cluster = KafkaCluster(tmp_path / "kafka")
    yield cluster
    for node in cluster.nodes:
        node.remove()


def _fetch_kafka() -> None:
    try:
        kafka_artefacts.fetch()
    except KafkaMissingError as error:
        _missing(f"no Kafka to kill: {error}")


@pytest.fixture
def unique_name(request: pytest.FixtureRequest) -> Callable[[str], str]:
    """Make names (topics, client ids, groups) that no other test or run has."""
    words = re.sub(r"[^A-Za-z0-9]+", "-", request.node.name)[:60].strip("-")
    prefix = f"{words}-{secrets.token_hex(4)}"
    return lambda suffix: f"{prefix}-{suffix}"


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[MosquittoProcess]:
    """A Mosquitto of this test alone, running; durable only through a graceful stop."""
    if find_mosquitto() is None:
        _missing("mosquitto is not installed")
    broker = MosquittoProcess(tmp_path / "mosquitto")
    broker.start()
    yield broker
    broker.kill()


@pytest.fixture(scope="session")
def promtool() -> Promtool:
    """Prometheus' own judge of rules and metrics."""
    program = find_promtool()
    if program is None:
        _missing(PROMTOOL_MISSING)
    return Promtool(program)


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    """A headless browser for the whole run; each test opens its own page."""
    program = find_chromium()
    if program is None:
        _missing(CHROMIUM_MISSING)
    browser = Chromium(program, tmp_path_factory.mktemp("chromium"))
    browser.start()
    yield browser
    browser.kill()


@pytest.fixture
def start_devices(mosquitto: MosquittoProcess) -> Iterator[Callable[..., DevicePublisher]]:
    """Connect device publishers to `mosquitto`; they are closed at the end of the test."""
    publishers: list[DevicePublisher] = []

    def start(port: int | None = None, **options: object) -> DevicePublisher:
        publisher = DevicePublisher(port or mosquitto.port, **options)  # type: ignore[arg-type]
        publishers.append(publisher)
        publisher.connect()
        return publisher

    yield start
    for publisher in publishers:
        publisher.close()


@pytest.fixture
def start_bridge(tmp_path: Path) -> Iterator[Callable[[Config], BridgeProcess]]:
    """Run the product with a configuration; killed at the end of the test if still alive."""
    bridges: list[BridgeProcess] = []

    def start(config: Config) -> BridgeProcess:
        bridge = BridgeProcess(tmp_path / f"bridge-{len(bridges)}", config)
        bridges.append(bridge)
        bridge.start()
        return bridge

    yield start
    for bridge in bridges:
        bridge.kill()
