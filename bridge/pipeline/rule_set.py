"""The rules that a configuration decides, as one set: what each of two sets says is compared.

Unlike on the way of a message, every rule speaks: a timestamp that would be rejected hides no
range. So a difference between two sets is a difference of rules, not of the order they are asked.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final

from bridge.config.sections import BridgeConfig, ValidationSection
from bridge.config.shadow_rules import shadowed
from bridge.fleet.registry import DeviceEntry
from bridge.pipeline.judge import Judge
from bridge.pipeline.timestamps import Timestamp, read_timestamp
from bridge.pipeline.validate import METRICS_MAX, TimeBounds
from bridge.pipeline.verdict import Reason
from bridge.pipeline.wording import quote

DECIDED: Final = (
    Reason.SCHEMA_MISMATCH,
    Reason.TIMESTAMP_FUTURE,
    Reason.TIMESTAMP_OLD,
    Reason.OUT_OF_RANGE,
    Reason.DEVICE_UNKNOWN,
    Reason.DEVICE_DISABLED,
    Reason.LOCATION_UNEXPECTED,
    Reason.FIRMWARE_RECALLED,
)
"""The reasons that a set can give; all others hang on no rule of the configuration."""
REJUDGED: Final = frozenset(DECIDED) - {Reason.SCHEMA_MISMATCH}
"""Those of them that a dead letter can have whose message may pass by other rules."""
NOTHING_FOUND: Final[Mapping[Reason, str]] = MappingProxyType({})
_US_PER_S: Final = 1_000_000


class RuleSet:
    """The rules of layers 3 and 4, the bounds on time, and how many metrics there have to be."""

    def __init__(
        self,
        validation: ValidationSection,
        *,
        metrics_required: Iterable[str] = (),
        metrics_max: int = METRICS_MAX,
        table: str = "validation",
    ) -> None:
        """`table` is where the rules stand, for whoever reads what is found."""
        self._judge = Judge(validation, table=table)
        bounds = TimeBounds.of(validation)
        self._ahead_us, self._behind_us = bounds.ahead_us, bounds.behind_us
        self._required = frozenset(metrics_required)
        self._metrics_max = metrics_max
        self._table = table

    @classmethod
    def on_trial(cls, config: BridgeConfig) -> "RuleSet | None":
        """Take the rules of `[shadow]`; None where there is none."""
        shadow = config.shadow
        if shadow is None:
            return None
        return cls(
            shadowed(config.validation, shadow),
            metrics_required=shadow.metrics_required,
            metrics_max=shadow.metrics_max,
            table="shadow",
        )

    def find(
        self,
        message: dict[str, Any],
        device_id: str,
        entry: DeviceEntry | None,
        behind_us: int | None,
    ) -> Mapping[Reason, str]:
        """Give each reason that a message fails for, with a detail; mostly none.

        The message is one that passes layer 2 but for its time. `behind_us` is how far the device
        is behind the server; None, its time is not judged.
        """
        flags = self._judge.judge(message, device_id, entry)
        metrics = message["metrics"]
        if (
            not flags
            and (behind_us is None or -self._ahead_us <= behind_us <= self._behind_us)
            and len(metrics) <= self._metrics_max
            and not (self._required and self._required - metrics.keys())
        ):
            return NOTHING_FOUND
        found = self._look_at_metrics(metrics)
        if behind_us is not None:
            found |= self._look_at_time(behind_us)
        for flag in flags:
            found.setdefault(flag.reason, flag.detail)
        return found

    def _look_at_metrics(self, metrics: Mapping[str, Any]) -> dict[Reason, str]:
        missing = sorted(self._required - metrics.keys())
        if missing:
            names = ", ".join(map(quote, missing[:3])) + (", ..." if missing[3:] else "")
            text = f"metrics lacks {names} ({self._table}.metrics_required)"
        elif len(metrics) > self._metrics_max:
            text = (
                f"metrics has {len(metrics)} entries, at most {self._metrics_max}"
                f" ({self._table}.metrics_max)"
            )
        else:
            return {}
        return {Reason.SCHEMA_MISMATCH: text}

    def _look_at_time(self, behind_us: int) -> dict[Reason, str]:
        if behind_us < -self._ahead_us:
            reason, key, bound_us = Reason.TIMESTAMP_FUTURE, "future", self._ahead_us
            side = "ahead of"
        elif behind_us > self._behind_us:
            reason, key, bound_us = Reason.TIMESTAMP_OLD, "age", self._behind_us
            side = "behind"
        else:
            return {}
        away_s, bound_s = abs(behind_us) / _US_PER_S, bound_us / _US_PER_S
        return {
            reason: f"timestamp is {away_s:.10g} s {side} the server clock, at most {bound_s:.10g}"
            f" s ({self._table}.timestamp_{key}_max_s)"
        }


def behind_us_of(message: Mapping[str, Any], received_us: int) -> int | None:
    """Tell how far behind the server a message is that was perhaps rejected for it.

    None where no rule could let it pass: it has no time that a record can hold.
    """
    timestamp = read_timestamp(message.get("timestamp"))
    if type(timestamp) is not Timestamp or timestamp.text is None:
        return None
    return received_us - timestamp.measured_at_us


def is_judgeable(message: object) -> bool:
    """Tell whether a message has the shape that `RuleSet.find` takes."""
    return (
        type(message) is dict
        and type(message.get("metrics")) is dict
        and type(message.get("metadata", {})) is dict
    )
