"""The steps of the way of one message, as a value."""

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from bridge.kafka.record import Instant, Reading, Record
from bridge.mqtt.packets import Publish
from bridge.pipeline.decode import decode
from bridge.pipeline.enrich import Identity, enrich
from bridge.pipeline.identity import Address
from bridge.pipeline.route import write_telemetry
from bridge.pipeline.validate import TimeBounds, validate
from bridge.pipeline.verdict import Telemetry, Verdict


class Stages(NamedTuple):
    """The steps of the way; a test may put a double in the place of one."""

    decode: Callable[[bytes, str | None, Address], Any] = decode
    validate: Callable[[Any, str, int, TimeBounds], Verdict] = validate
    enrich: Callable[[Telemetry, Instant], None] = enrich
    write: Callable[
        [Telemetry, Publish | Reading, Address, Mapping[str, str], Instant, Identity], Record
    ] = write_telemetry


USUAL_STAGES: Final = Stages()
