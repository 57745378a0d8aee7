"""The registry on disk: the file that people write, and the snapshot for a start without Kafka.

The snapshot, in the state directory, is what the Kafka topic said last. It is lines of JSON, a
thousand devices each: a line is written, or read, in a moment, and the event loop in the other
thread has its turn between two of them.
"""

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from bridge.config import toml_text
from bridge.config.paths import quoted_path
from bridge.config.regular_files import open_regular
from bridge.fleet.registry import DeviceEntry, Entries, Interning
from bridge.fleet.registry_file import FILE_BYTES_MAX, parse_registry

SNAPSHOT_NAME: Final = "registry.jsonl"
_FORMAT: Final = 1
_DEVICES_A_LINE: Final = 1_000
_LINE: Final = msgspec.json.Decoder(dict[str, DeviceEntry])


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """The first line."""

    format: int = _FORMAT
    kafka_topic: str
    saved_at: str
    devices: int


class Snapshot(msgspec.Struct, frozen=True):
    """What a file holds."""

    head: Head
    entries: dict[str, DeviceEntry]


def read_registry_file(path: Path) -> dict[str, DeviceEntry]:
    """Read the file that `registry.file` names.

    Raises:
        ConfigError: With every problem there is, one line each.
    """
    where = f"registry file {quoted_path(path)}"
    content = toml_text.read(
        path, where, bytes_max=FILE_BYTES_MAX, remedy="write the path of a file that is there"
    )
    return parse_registry(content, where)


def save_snapshot(path: Path, kafka_topic: str, entries: Entries) -> None:
    """Replace the file.

    Raises:
        OSError: It could not be written; the file before it is still there.
    """
    saved_at = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    head = Head(kafka_topic=kafka_topic, saved_at=saved_at, devices=len(entries))
    beside = path.with_suffix(".new")
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "wb") as opened:  # noqa: PTH123  a descriptor, for its mode
        opened.write(msgspec.json.encode(head) + b"\n")
        opened.writelines(msgspec.json.encode(part) + b"\n" for part in _parts(entries))
        opened.flush()
        os.fsync(opened.fileno())
    beside.replace(path)


def _parts(entries: Entries) -> Iterator[dict[str, DeviceEntry]]:
    items = list(entries.items())
    for start in range(0, len(items), _DEVICES_A_LINE):
        yield dict(items[start : start + _DEVICES_A_LINE])


def load_snapshot(path: Path, kafka_topic: str) -> Snapshot | None:
    """Read the file; None where there is none of this topic.

    Raises:
        OSError: It cannot be read.
        ValueError: It is not whole, or of another format.
    """
    interning = Interning()
    entries: dict[str, DeviceEntry] = {}
    try:
        with open_regular(path) as opened:
            head = msgspec.json.decode(opened.readline(), type=Head)
            if head.format != _FORMAT:
                raise ValueError(f"has format {head.format}, this version knows {_FORMAT}")
            if head.kafka_topic != kafka_topic:
                return None
            for line in opened:
                for device_id, entry in _LINE.decode(line).items():
                    entries[device_id] = interning.intern(entry)
    except FileNotFoundError:
        return None
    except RecursionError as error:
        raise ValueError("is nested too deeply") from error
    if len(entries) != head.devices:
        raise ValueError(f"has {len(entries)} devices of {head.devices}")
    return Snapshot(head, entries)
