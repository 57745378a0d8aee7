from collections.abc import Callable
from pathlib import Path

import pytest

from bridge.fleet.registry import DeviceEntry, Registry
from bridge.runtime.registry_disk import SNAPSHOT_NAME, load_snapshot, save_snapshot
from bridge.runtime.registry_source import (
    Changed,
    Loaded,
    News,
    NotSaved,
    RegistryTopicReader,
    Restored,
    Unavailable,
)
from bridge.runtime.registry_topic import TopicUnavailableError, Update

TOPIC = "device-registry"
A, B = DeviceEntry(type="a"), DeviceEntry(type="b")
Answer = Update | TopicUnavailableError


class ScriptedTopic:
    """Answers as the test says, and notes what it was asked for."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    def read_all(self) -> Update:
        return self._answer("all")

    def follow(self, timeout_s: float) -> Update:
        assert timeout_s >= 0
        return self._answer("more")

    def close(self) -> None:
        self.asked.append("close")

    def _answer(self, asked: str) -> Update:
        self.asked.append(asked)
        answer = self.answers.pop(0)
        if isinstance(answer, TopicUnavailableError):
            raise answer
        return answer


def away() -> TopicUnavailableError:
    return TopicUnavailableError("_TRANSPORT: away")


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., tuple[RegistryTopicReader, ScriptedTopic]]:
    def make(
        *answers: Answer, save_every_s: float = 0.0
    ) -> tuple[RegistryTopicReader, ScriptedTopic]:
        topic = ScriptedTopic(*answers)
        reader = RegistryTopicReader(
            topic,
            Registry(),
            kafka_topic=TOPIC,
            snapshot_path=tmp_path / "state" / SNAPSHOT_NAME,
            poll_s=0.0,
            retry_s=0.0,
            save_every_s=save_every_s,
        )
        return reader, topic

    return make


Make = Callable[..., tuple[RegistryTopicReader, ScriptedTopic]]


def kinds(news: list[News]) -> list[type]:
    return [type(each) for each in news]


def test_the_topic_is_read_whole_and_then_followed(make: Make) -> None:
    reader, topic = make(Update({"a": A}), Update({}), Update({"a": None, "b": B}))

    opened = reader.open()
    news = [reader.step() for _ in range(3)]

    assert [] == opened
    assert [[Loaded], [], [Changed]] == [kinds(each) for each in news]
    assert ["all", "more", "more"] == topic.asked


def test_a_topic_that_is_lost_is_read_anew(make: Make) -> None:
    reader, topic = make(Update({"a": A}), away(), away(), Update({"b": B}))

    news = [reader.step() for _ in range(4)]

    assert [[Loaded], [Unavailable], [Unavailable], [Loaded]] == [kinds(each) for each in news]
    assert ["all", "more", "all", "all"] == topic.asked


def test_an_empty_topic_is_not_yet_a_registry(make: Make) -> None:
    reader, _ = make(Update({}), Update({"a": A}))

    assert [Unavailable("the topic has no device")] == reader.step()
    assert [Loaded] == kinds(reader.step())


def test_without_kafka_at_start_the_snapshot_of_the_last_run_stands_in(
    make: Make, tmp_path: Path
) -> None:
    before, _ = make(Update({"a": A}), Update({"b": B}))
    before.step()
    before.step()
    before.close()

    reader, _ = make(away(), away(), Update({"b": B}))
    (restored,) = reader.step()
    later = [kinds(reader.step()) for _ in range(2)]

    assert isinstance(restored, Restored)
    assert {"a": A, "b": B} == restored.prepared.entries
    assert "_TRANSPORT: away" == restored.error
    assert tmp_path / "state" / SNAPSHOT_NAME == restored.path
    assert [[Unavailable], [Loaded]] == later


def test_without_kafka_and_without_snapshot_nothing_is_known(make: Make) -> None:
    reader, _ = make(away())

    assert [Unavailable("_TRANSPORT: away")] == reader.step()


def test_a_snapshot_is_written_at_the_end_if_it_was_not_due_before(
    make: Make, tmp_path: Path
) -> None:
    reader, _ = make(Update({"a": A}), Update({"a": B}), save_every_s=3_600.0)
    reader.step()
    reader.step()
    reader.close()

    snapshot = load_snapshot(tmp_path / "state" / SNAPSHOT_NAME, TOPIC)

    assert snapshot is not None
    assert {"a": B} == snapshot.entries


def test_a_state_directory_that_cannot_be_written_costs_only_the_snapshot(
    make: Make, tmp_path: Path
) -> None:
    (tmp_path / "state").write_text("in the way")
    reader, _ = make(Update({"a": A}))

    assert [Loaded, NotSaved] == kinds(reader.step())


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", "Input data was truncated"),
        (b"{}\n", "Object missing required field `kafka_topic`"),
        (
            b'{"format": 9, "kafka_topic": "device-registry", "saved_at": "", "devices": 0}\n',
            "has format 9, this version knows 1",
        ),
        (
            (
                b'{"format": 1, "kafka_topic": "device-registry", "saved_at": "", "devices": 2}\n'
                b'{"a": {}}\n'
            ),
            "has 1 devices of 2",
        ),
        (b'{"new": ' + b"[" * 3_000 + b"]" * 3_000 + b"}", "is nested too deeply"),
    ],
    ids=["empty", "no head", "later format", "cut", "deep"],
)
def test_a_snapshot_that_is_not_whole_is_told_and_not_used(
    make: Make, tmp_path: Path, content: bytes, error: str
) -> None:
    path = tmp_path / "state" / SNAPSHOT_NAME
    path.parent.mkdir()
    path.write_bytes(content)
    reader, _ = make(away())

    assert [NotSaved(path, error), Unavailable("_TRANSPORT: away")] == reader.step()


def test_a_snapshot_of_another_topic_is_none(tmp_path: Path) -> None:
    path = tmp_path / SNAPSHOT_NAME
    save_snapshot(path, "another", {"a": A})

    assert load_snapshot(path, TOPIC) is None


def test_a_large_registry_comes_back_from_its_snapshot(tmp_path: Path) -> None:
    path = tmp_path / SNAPSHOT_NAME
    entries = {f"d{number}": DeviceEntry(type=f"t{number % 7}") for number in range(2_500)}
    save_snapshot(path, TOPIC, entries)

    snapshot = load_snapshot(path, TOPIC)

    assert snapshot is not None
    assert entries == snapshot.entries
    assert 0o600 == path.stat().st_mode & 0o777
