"""Layer 2, schema: the message is an object of the right shape, from this device, of this time."""

from typing import Any, Final

import msgspec

from bridge.config.sections import ValidationSection
from bridge.pipeline.identity import DEVICE_ID_RULE, is_device_id
from bridge.pipeline.timestamps import Timestamp, read_timestamp
from bridge.pipeline.verdict import Layer, Reason, Rejected, Telemetry, Verdict
from bridge.pipeline.wording import quote

METRICS_MAX = 1_000
NAME_CHARACTERS_MAX = 128
TIMESTAMP_WITHOUT_ZONE = "timestamp_without_zone"
HOST_CLOCK_UNSYNCHRONISED = "host_clock_unsynchronised"
"""The warning on a message whose timestamp was not judged, since our own clock is doubted."""

_US_PER_S = 1_000_000
_MISSING = object()
SCALARS = frozenset((int, float, str, bool, type(None)))


class TimeBounds(msgspec.Struct, frozen=True, gc=False):
    """How far a device's clock may be from ours."""

    ahead_us: int
    behind_us: int
    is_judged: bool = True

    @classmethod
    def of(cls, validation: ValidationSection) -> "TimeBounds":
        """Take the bounds from the configuration."""
        return cls(
            ahead_us=round(validation.timestamp_future_max_s * _US_PER_S),
            behind_us=round(validation.timestamp_age_max_s * _US_PER_S),
        )

    def hold(self, measured_at_us: int, received_us: int) -> bool:
        """Tell whether an instant is near enough to that of its receipt."""
        return -self.ahead_us <= received_us - measured_at_us <= self.behind_us


NOT_JUDGED: Final = TimeBounds(ahead_us=1 << 62, behind_us=1 << 62, is_judged=False)
"""While the host's own clock is doubted: any time of the years 1 to 9999 passes."""


def validate(  # noqa: PLR0911 - one for each reason
    message: Any,  # noqa: ANN401 - whatever JSON can hold
    device_id: str,
    received_us: int,
    bounds: TimeBounds,
) -> Verdict:
    """Judge a decoded message of the device that its MQTT topic names."""
    if type(message) is not dict:
        return _mismatch(f"message is {quote(message)}, expected an object")
    # First, though judged later: the idempotency key of a letter holds it where it is readable.
    timestamp = read_timestamp(message.get("timestamp", _MISSING))
    text = timestamp.text if type(timestamp) is Timestamp else None
    if message.get("device_id") != device_id:
        return _judge_stranger(message, device_id, text)
    if type(timestamp) is not Timestamp:
        return _mismatch(timestamp if "timestamp" in message else "timestamp is missing")
    metrics = message.get("metrics")
    if type(metrics) is not dict or not _are_metrics(metrics):
        return _mismatch(_explain_metrics(message), text)
    if "metadata" in message and type(message["metadata"]) is not dict:
        return _mismatch(f"metadata is {quote(message['metadata'])}, expected an object", text)
    behind_us = received_us - timestamp.measured_at_us
    if text is None or not -bounds.ahead_us <= behind_us <= bounds.behind_us:
        return _judge_time(message["timestamp"], text, behind_us, bounds)
    warnings = [TIMESTAMP_WITHOUT_ZONE] if timestamp.is_naive else None
    if not bounds.is_judged:
        warnings = [*(warnings or ()), HOST_CLOCK_UNSYNCHRONISED]
    return Telemetry(message, timestamp.measured_at_us, text, warnings)


def _are_metrics(metrics: dict[str, Any]) -> bool:
    # Three look-ups in C and no loop: 0.4 us for four metrics. Names that together are short
    # enough are so one by one.
    if not 1 <= len(metrics) <= METRICS_MAX or "" in metrics:
        return False
    if len("".join(metrics)) > NAME_CHARACTERS_MAX and max(map(len, metrics)) > NAME_CHARACTERS_MAX:
        return False
    return SCALARS.issuperset(map(type, metrics.values()))


def _explain_metrics(message: dict[str, Any]) -> str:
    if "metrics" not in message:
        return "metrics is missing"
    metrics = message["metrics"]
    if type(metrics) is not dict:
        return f"metrics is {quote(metrics)}, expected an object"
    if not 1 <= len(metrics) <= METRICS_MAX:
        return f"metrics has {len(metrics)} entries, expected 1 to {METRICS_MAX}"
    for name, value in metrics.items():
        if not 1 <= len(name) <= NAME_CHARACTERS_MAX:
            return (
                f"metric name {quote(name)} has {len(name)} characters,"
                f" expected 1 to {NAME_CHARACTERS_MAX}"
            )
        if type(value) not in SCALARS:
            return (
                f"metric {quote(name)} is {quote(value)},"
                " expected a number, string, boolean or null"
            )
    raise AssertionError("metrics refused without a reason")


def _judge_stranger(message: dict[str, Any], device_id: str, text: str | None) -> Rejected:
    if "device_id" not in message:
        return _mismatch("device_id is missing", text)
    sent = message["device_id"]
    if type(sent) is not str or is_device_id(sent) is None:
        return _mismatch(f"device_id is {quote(sent)}, expected {DEVICE_ID_RULE}", text)
    return Rejected(
        Reason.DEVICE_MISMATCH,
        Layer.SCHEMA,
        f"device_id is {quote(sent)}, but the MQTT topic is that of {quote(device_id)}",
        text,
    )


def _judge_time(sent: Any, text: str | None, behind_us: int, bounds: TimeBounds) -> Rejected:  # noqa: ANN401
    is_ahead = behind_us < 0
    reason = Reason.TIMESTAMP_FUTURE if is_ahead else Reason.TIMESTAMP_OLD
    if text is None:
        # The distance may have thousands of digits; no clock, and no RFC 3339, goes there.
        where = "after the year 9999" if is_ahead else "before the year 1"
        return Rejected(reason, Layer.SCHEMA, f"timestamp {quote(sent)} is {where}")
    bound_us = bounds.ahead_us if is_ahead else bounds.behind_us
    return Rejected(
        reason,
        Layer.SCHEMA,
        f"timestamp {quote(sent)} is {_seconds(abs(behind_us))} s"
        f" {'ahead of' if is_ahead else 'behind'} the server clock, at most {_seconds(bound_us)} s",
        text,
    )


def _seconds(span_us: int) -> str:
    return f"{span_us / _US_PER_S:.6f}".rstrip("0").rstrip(".")


def _mismatch(detail: str, text: str | None = None) -> Rejected:
    return Rejected(Reason.SCHEMA_MISMATCH, Layer.SCHEMA, detail, text)
