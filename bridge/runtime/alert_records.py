"""What is told of devices, as records of `device-alerts`: beside the traffic, key device id.

What is owed at a stop is kept with the state of the fleet, so an alert of a night without Kafka
comes in the morning; and since it says when, it may come late.
"""

from collections.abc import Iterator
from typing import Final

import msgspec

from bridge.fleet.slices import read_slice, write_slice
from bridge.observe.counters import AlertType, Counters
from bridge.observe.log import EventLog
from bridge.runtime.aside_records import Aside, AsideRecords, Producer

RECORDS_MAX: Final = 50_000
"""15 MB. Devices that are told one by one are less than the share that makes a fleet silent."""
_MACHINE: Final = "alerts"
_VERSION: Final = 1
_SLICE_RECORDS: Final = 1_000
_WRITTEN: Final = msgspec.msgpack.Decoder(list[Aside])


class Alert(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that is told of a device, or of the fleet."""

    type: AlertType
    client_id: str
    """Of the bridge that tells it; of `watch` its consumer group."""
    at: str
    """When it was noticed; like all times RFC 3339, UTC, microseconds, `Z`."""
    device_id: str | None = None
    device_type: str | None = None
    """As the registry has it."""
    last_heard_at: str | None = None
    """The last message before: of a device that recovered, the one before its silence."""
    silent_s: float | None = None
    """Since then, the time included in which nobody could hear it."""
    expected_interval_s: float | None = None
    devices: int | None = None
    """Of a silence of the fleet: how many; of its end: how many are silent still."""
    share: float | None = None
    """Of the devices that were not silent before."""
    since: str | None = None


class AlertRecords:
    """Produce alerts, at least once each."""

    def __init__(
        self, producer: Producer, kafka_topic: str, counters: Counters, log: EventLog
    ) -> None:
        self._counters = counters
        self._records = AsideRecords(
            producer,
            kafka_topic,
            records_max=RECORDS_MAX,
            held_event="alert_record_held",
            log=log,
        )

    def __len__(self) -> int:
        """Count the records that Kafka has not confirmed."""
        return len(self._records)

    def add(self, alert: Alert) -> None:
        """Take an alert; `serve` sends it."""
        self._counters.alerts[alert.type] += 1
        key = (alert.device_id or alert.client_id).encode()
        dropped = self._records.add(Aside(key, msgspec.json.encode(alert)))
        self._counters.alert_records_dropped += dropped

    def serve(self, now: float) -> None:
        """Take the reports that came, and send what is to be sent; call it each second or so."""
        self._records.serve(now)

    def dump(self) -> Iterator[bytes]:
        """Write what Kafka has not confirmed."""
        owed = list(self._records.owed())
        for start in range(0, len(owed), _SLICE_RECORDS):
            yield write_slice(_MACHINE, _VERSION, owed[start : start + _SLICE_RECORDS])

    def load(self, written: bytes) -> None:
        """Owe what an earlier process owed.

        Raises:
            ValueError: The slice cannot be read.
        """
        for record in read_slice(written, _MACHINE, _VERSION, _WRITTEN):
            self._counters.alert_records_dropped += self._records.add(record)
