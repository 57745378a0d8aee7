"""The spool, as far as it can be looked at without touching it: room, owner, format, budget."""

import os
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from bridge.config.paths import quoted_path
from bridge.config.sections import BridgeConfig
from bridge.errors import ConfigError
from bridge.runtime.live_check.points import Group, Point, Scribe
from bridge.runtime.state_directory import state_directory
from bridge.spool import schema
from bridge.spool.lock import owner_of
from bridge.spool.store import FILE_NAME

SAY: Final = Scribe(Group.HOST)
_DIRECTORY: Final = "spool"
_FILE: Final = "spool file"
_BUDGET: Final = "outage budget"


def judge_spool(config: BridgeConfig, environment: Mapping[str, str]) -> Iterator[Point]:
    """Judge where Kafka's outages are kept, and for how long that is known to do."""
    section = config.spool
    if not section.bytes_max:
        yield SAY.not_proven(
            _DIRECTORY,
            "there is none: the MQTT broker's queue holds an outage of Kafka",
            "see broker queue",
        )
    else:
        state = state_directory(config.mqtt.client_id, environment)
        directory = Path(section.directory) if section.directory else state
        yield look_at_directory(directory, bytes_wanted=section.bytes_max)
        yield look_at_file(directory, client_id=config.mqtt.client_id)
    yield judge_budget(config)


def look_at_directory(directory: Path, *, bytes_wanted: int) -> Point:
    """Write a file there that never has a name, and ask for the room."""
    there = directory
    try:
        while not there.exists() and there != there.parent:
            there = there.parent  # It is made at the start; what counts is whether it can be.
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(b"check")
            file.flush()
            os.fsync(file.fileno())
        room = os.statvfs(there)
        own = directory / FILE_NAME
        own_bytes = own.stat().st_size if own.exists() else 0
    except OSError as error:
        return SAY.wrong(
            _DIRECTORY,
            f"directory {quoted_path(directory)} is not writable: {error.strerror}",
            "give it to the user of the bridge, or write another spool.directory",
        )
    free = room.f_bavail * room.f_frsize
    value = f"directory {quoted_path(directory)} is writable, {free} bytes free"
    if own_bytes:
        value += f", {own_bytes} in the spool"
    if free + own_bytes < bytes_wanted:  # What the file has it uses again.
        return SAY.warn(
            _DIRECTORY,
            f"{value}, spool.bytes_max is {bytes_wanted}",
            "free some, or lower bytes_max: a full disk is met as spool_failed",
        )
    return SAY.ok(_DIRECTORY, value)


def look_at_file(directory: Path, *, client_id: str) -> Point:
    """Tell who has it, or whether the bridge would take it; it stays exactly as it is."""
    owner = owner_of(directory)
    if owner is not None:
        return SAY.ok(_FILE, f"in use by process {owner}: a bridge is running with it")
    path = directory / FILE_NAME
    try:
        if not path.exists():
            return SAY.ok(_FILE, "there is none yet")
        schema.judge(path, client_id, leaves_no_trace=True)
    except ConfigError as error:
        value, _, remedy = error.problems[0].rpartition(": ")
        return SAY.wrong(_FILE, value, remedy)
    except (sqlite3.Error, OSError) as error:
        return SAY.not_proven(
            _FILE,
            f"{quoted_path(path)} cannot be read: {error}",
            "a start checks every page, and sets a corrupt spool aside (spool_set_aside)",
        )
    return SAY.ok(_FILE, "is of this client id and of a format that this version reads")


def judge_budget(config: BridgeConfig) -> Point:
    """Tell what the outage budget is made of."""
    mqtt = config.mqtt
    rooms = [f"a spool of {config.spool.bytes_max} bytes"] if config.spool.bytes_max else []
    told = {"messages": mqtt.broker_queue_messages, "bytes": mqtt.broker_queue_bytes}
    queue = " or ".join(f"{count} {unit}" for unit, count in told.items() if count)
    if queue:
        rooms.append(f"{queue} in the MQTT broker's queue")
        return SAY.ok(_BUDGET, f"counts with {' and '.join(rooms)}")
    rooms.append("an MQTT broker's queue of unknown size, which is not counted")
    return SAY.not_proven(
        _BUDGET,
        f"counts with {' and '.join(rooms)}",
        "write mqtt.broker_queue_messages and broker_queue_bytes as the MQTT broker has them"
        " (Mosquitto: max_queued_messages, max_queued_bytes)",
    )
