"""The device registry in a compacted Kafka topic: read in full, followed, filled from a file."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import NewPartitions

from bridge.__main__ import main
from bridge.errors import ExitCode
from bridge.fleet.registry import DeviceEntry, encode_entry
from bridge.runtime.registry_topic import RegistryTopic, TopicUnavailableError, Update
from tests.support.eventually import eventually
from tests.support.kafka_choice import ChosenKafka
from tests.support.kafka_cluster import KafkaProcess

COMPACT = {"cleanup.policy": "compact"}
A, B, OFF = DeviceEntry(type="a"), DeviceEntry(type="b"), DeviceEntry(enabled=False)
REQUEST_TIMEOUT_S = 30.0
NOW_MS = 1_750_000_000_000


class Stand:
    """A registry topic and a reading of it."""

    def __init__(self, kafka: ChosenKafka, name: str) -> None:
        self.kafka = kafka
        self.name = name
        self.topic = RegistryTopic({"bootstrap.servers": kafka.bootstrap}, name)

    def create(self, partitions: int = 3) -> None:
        self.kafka.client.create_topic(self.name, partitions, COMPACT)

    def write(self, entries: Mapping[str, DeviceEntry | None]) -> None:
        for device_id, entry in entries.items():
            value = None if entry is None else encode_entry(entry)
            self.kafka.client.produce(self.name, [value], key=device_id.encode())

    def write_to(
        self, partition: int, device_id: str, entry: DeviceEntry | None, *, at_ms: int
    ) -> None:
        """Write one record to a partition of choice, as a client with another partitioner would."""
        producer = Producer({"bootstrap.servers": self.kafka.bootstrap})
        value = None if entry is None else encode_entry(entry)
        producer.produce(self.name, value, device_id, partition=partition, timestamp=at_ms)
        assert 0 == producer.flush(REQUEST_TIMEOUT_S)

    def read(self) -> dict[str, DeviceEntry | None]:
        return self.topic.read_all().changes

    def follow_until(self, wanted: dict[str, DeviceEntry | None]) -> None:
        """Follow until these changes came, in however many updates."""
        found: dict[str, DeviceEntry | None] = {}

        def follow() -> dict[str, DeviceEntry | None]:
            found.update(self.topic.follow(0.1).changes)
            return found

        eventually(follow, lambda found: found == wanted, what="the changes came")

    def follow_one(self, device_id: str, entry: DeviceEntry) -> DeviceEntry:
        """Write an entry and follow until it comes."""
        self.write({device_id: entry})
        found: dict[str, DeviceEntry | None] = {}

        def follow() -> DeviceEntry | None:
            found.update(self.topic.follow(0.1).changes)
            return found.get(device_id)

        followed = eventually(follow, lambda found: found is not None, what="the change came")
        assert followed is not None
        return followed

    def load(self, tmp_path: Path, text: str, *options: str) -> int:
        """Run the command on a file of this text."""
        config, file = tmp_path / "bridge.toml", tmp_path / "devices.toml"
        config.write_text(
            f'[kafka]\nbootstrap_servers = "{self.kafka.bootstrap}"\n'
            f'[registry]\nkafka_topic = "{self.name}"\n'
        )
        file.write_text(text)
        return main(["registry", "load", str(file), "--config", str(config), *options])


@pytest.fixture
def stand(kafka: ChosenKafka, unique_name: Callable[[str], str]) -> Stand:
    return Stand(kafka, unique_name("registry"))


def test_the_topic_is_read_whole_and_of_each_device_the_last_word_counts(stand: Stand) -> None:
    stand.create()
    stand.write({"d1": A, "d2": A, "d3": OFF})
    stand.write({"d1": B, "d3": None})

    assert {"d1": B, "d2": A} == stand.read()


def test_what_served_to_read_one_change_is_not_kept_for_the_next(stand: Stand) -> None:
    stand.create()
    stand.write({"d1": A})
    stand.read()

    followed = [stand.follow_one(device_id, B) for device_id in ("d2", "d3")]

    assert [B, B] == followed
    assert followed[0] is not followed[1], "a pool would keep every entry that ever was"


def test_what_is_written_later_is_followed_tombstones_too(stand: Stand) -> None:
    stand.create()
    stand.write({"d1": A, "d2": A})
    stand.read()

    stand.write({"d1": None, "d3": OFF})

    stand.follow_until({"d1": None, "d3": OFF})


def test_records_that_are_no_entries_are_named_and_cost_no_other(stand: Stand) -> None:
    stand.create(partitions=1)
    stand.write({"d1": A})
    stand.kafka.client.produce(stand.name, [b"[]"], key=b"d2")
    stand.kafka.client.produce(stand.name, [b"{}"], key=b"no id\xff")
    stand.write({"d3": B})

    update: Update = stand.topic.read_all()

    assert {"d1": A, "d3": B} == update.changes
    assert [
        ("d2", 1, "Expected `object`, got `array`"),
        ("no id\\xff", 2, "the key is no device id"),
    ] == [(each.key, each.offset, each.error) for each in update.refused]


def test_an_empty_topic_is_read_to_its_end(stand: Stand) -> None:
    stand.create()

    assert {} == stand.read()


def test_a_topic_that_is_not_there_is_unavailable(stand: Stand) -> None:
    with pytest.raises(TopicUnavailableError, match="UNKNOWN_TOPIC_OR_PART"):
        stand.read()


def test_a_cluster_that_is_away_is_unavailable() -> None:
    topic = RegistryTopic({"bootstrap.servers": "127.0.0.1:1"}, "registry")

    with pytest.raises(TopicUnavailableError, match="_TRANSPORT"):
        topic.read_all()
    topic.close()


def test_a_topic_that_was_made_anew_is_to_be_read_anew(stand: Stand) -> None:
    stand.create(partitions=1)
    stand.write({"d1": A, "d2": A, "d3": A})
    stand.read()

    stand.kafka.client.delete_topic(stand.name)
    stand.create(partitions=1)
    stand.write({"d2": B})

    def follow() -> bool:
        try:
            stand.topic.follow(0.1)
        except TopicUnavailableError:
            return True
        return False

    eventually(follow, what="the reading is over")
    assert {"d2": B} == stand.read()


def test_partitions_that_were_added_are_read_after_the_next_look(
    kafka: ChosenKafka, unique_name: Callable[[str], str]
) -> None:
    name = unique_name("registry")
    stand = Stand(kafka, name)
    stand.topic = RegistryTopic({"bootstrap.servers": kafka.bootstrap}, name, look_again_s=0.0)
    stand.create(partitions=1)
    stand.read()

    admin = kafka.client.admin()  # Kept: its answers end with it.
    admin.create_partitions([NewPartitions(name, 2)])[name].result(REQUEST_TIMEOUT_S)

    def follow() -> str:
        try:
            stand.topic.follow(0.0)
        except TopicUnavailableError as error:
            return str(error)
        return ""

    eventually(follow, lambda said: "other partitions" in said, what="the new partition is seen")


def test_a_frozen_cluster_only_delays_what_is_followed(
    victim: KafkaProcess, unique_name: Callable[[str], str]
) -> None:
    name = unique_name("registry")
    victim.client.create_topic(name, 1, COMPACT)
    victim.client.produce(name, [encode_entry(A)], key=b"d1")
    topic = RegistryTopic({"bootstrap.servers": victim.client.bootstrap}, name)
    read = topic.read_all().changes

    victim.freeze()
    quiet = topic.follow(0.1).changes
    victim.thaw()
    victim.client.produce(name, [encode_entry(B)], key=b"d1")

    found = eventually(lambda: topic.follow(0.1).changes, what="the change came")
    topic.close()
    assert [{"d1": A}, {}, {"d1": B}] == [read, quiet, found]


def test_a_file_is_loaded_and_loading_it_again_writes_nothing(
    stand: Stand, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stand.create()
    stand.write({"gone": A, "same": A, "other": A})
    text = "[device]\nsame = {type='a'}\nother = {type='b'}\nnew = {enabled=false}\n"

    codes = [stand.load(tmp_path, text), stand.load(tmp_path, text)]

    said = capsys.readouterr().out.splitlines()
    assert [ExitCode.OK, ExitCode.OK] == codes
    assert [
        (
            f'Kafka topic "{stand.name}": 1 devices were added, 1 changed, 1 removed;'
            " 1 are as they were"
        ),
        (
            f'Kafka topic "{stand.name}": 0 devices were added, 0 changed, 0 removed;'
            " 3 are as they were"
        ),
    ] == said
    assert {"same": A, "other": B, "new": OFF} == stand.read()
    assert 6 == stand.kafka.client.count(stand.name)


def test_what_the_file_does_not_have_is_kept_on_demand(
    stand: Stand, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stand.create()
    stand.write({"gone": A})

    stand.load(tmp_path, "[device.new]\ntype='a'\n", "--keep")

    assert "0 removed; 0 are as they were, 1 kept that the file does not have" in (
        capsys.readouterr().out
    )
    assert {"gone": A, "new": A} == stand.read()


def test_a_dry_run_names_the_devices_and_writes_nothing(
    stand: Stand, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stand.create()
    stand.write({"gone": A, "other": A})
    many = "".join(f"d{number} = {{}}\n" for number in range(22))

    code = stand.load(tmp_path, f"[device]\nother = {{type='b'}}\n{many}", "--dry-run")

    lines = capsys.readouterr().out.splitlines()
    assert ExitCode.OK == code
    assert ["+ d0", "+ and 2 more", "~ other", "- gone"] == [lines[0], *lines[20:23]]
    assert "22 devices would be added, 1 changed, 1 removed; 0 are as they were" in lines[-1]
    assert {"gone": A, "other": A} == stand.read()


def test_a_wrong_file_is_refused_before_kafka_is_asked(
    stand: Stand, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = stand.load(tmp_path, "[device.a]\ntipe = 1\n[device.b]\nenabled = 7\n")

    assert ExitCode.CONFIGURATION == code
    assert [
        (
            f'registry file "{tmp_path}/devices.toml" line 2: device.a.tipe: unknown key;'
            ' meant "type"?'
        ),
        f'registry file "{tmp_path}/devices.toml" line 4: device.b.enabled: Expected bool, got 7',
    ] == capsys.readouterr().err.splitlines()


def test_a_topic_that_is_not_there_is_a_service_that_refused(
    stand: Stand, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = stand.load(tmp_path, "[device.a]\n")

    assert ExitCode.UNAVAILABLE == code
    assert f"Kafka topic {stand.name} could not be read: UNKNOWN_TOPIC_OR_PART" in (
        capsys.readouterr().err
    )


def test_a_hundred_thousand_devices_are_loaded_and_read(
    stand: Stand, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stand.create()
    text = "[device]\n" + "".join(f"d{number} = {{type='a'}}\n" for number in range(100_000))

    code = stand.load(tmp_path, text)

    assert ExitCode.OK == code
    assert ": 100000 devices were added, 0 changed" in capsys.readouterr().out
    assert 100_000 == len(stand.read())


def test_a_device_in_two_partitions_has_the_word_that_was_written_last(stand: Stand) -> None:
    stand.create(partitions=2)
    for partition, at_ms, entry in ((0, 2_000, B), (1, 1_000, A), (1, 1_500, None)):
        stand.write_to(partition, "d1", entry, at_ms=NOW_MS + at_ms)
    stand.write_to(0, "d2", A, at_ms=NOW_MS + 3_000)
    stand.write_to(1, "d2", None, at_ms=NOW_MS + 4_000)

    assert {"d1": B} == stand.read()
