"""How much a device may send: the limit of its route, with what the registry says of it."""

from collections.abc import Sequence
from typing import NamedTuple

from bridge.config.sections import LimitsSection, Route
from bridge.fleet.limits import Limit, Limits, limit_of_device, limit_of_route
from bridge.fleet.registry import DeviceEntry
from bridge.kafka.record import Instant
from bridge.pipeline.identity import Address
from bridge.pipeline.verdict import Dropped, Layer, Reason, Rejected, Telemetry


class Allowance(NamedTuple):
    """Ask for each message that is no duplicate; the answer is what becomes of it, if too many."""

    limits: Limits
    by_filter: dict[str, Limit | None]
    is_dropped: bool

    @classmethod
    def of(cls, section: LimitsSection, routes: Sequence[Route], limits: Limits) -> "Allowance":
        """Make what the configuration says."""
        by_filter = {
            each.filter: limit_of_route(
                kind=each.kind,
                priority=each.priority,
                per_device_per_s=each.per_device_per_s,
                default_per_s=section.per_device_per_s,
                burst=section.burst,
                bucket=each.filter.encode(),
            )
            for each in routes
        }
        return cls(limits, by_filter, section.on_exceed == "drop")

    def judge(
        self,
        address: Address,
        entry: DeviceEntry | None,
        received: Instant,
        *,
        measured_at_us: int | None = None,
        timestamp: str | None = None,
    ) -> Rejected | Dropped | None:
        """Tell what becomes of a message that is one too many; None where it is not.

        What the device says of its time is given where it says something; `timestamp` is the same
        in the record's form, for the idempotency key of the letter.
        """
        assert address.route is not None, "a message without a route"
        limit = self.by_filter[address.route.filter]
        if limit is None:
            return None
        if entry is not None and entry.limits is not None:
            limit = limit_of_device(limit, entry.limits.per_device_per_s, entry.limits.burst)
            if limit is None:
                return None
        if self.limits.admit(address.key, limit, measured_at_us, received.monotonic_s):
            return None
        return self._refuse(limit, timestamp)

    def judge_all(
        self,
        addresses: Sequence[Address],
        entries: Sequence[DeviceEntry | None],
        received: Instant,
        verdicts: Sequence[Telemetry],
    ) -> list[tuple[int, Rejected | Dropped]]:
        """Do the same for many whose time was judged: give the places of those too many."""
        excess: list[tuple[int, Rejected | Dropped]] = []
        by_filter, admit, now_s = self.by_filter, self.limits.admit, received.monotonic_s
        rows = zip(addresses, entries, verdicts, strict=True)
        for place, (address, entry, verdict) in enumerate(rows):
            limit = by_filter[address.route.filter]  # type: ignore[union-attr]  # there is one
            if limit is None:
                continue
            if entry is not None and entry.limits is not None:
                limit = limit_of_device(limit, entry.limits.per_device_per_s, entry.limits.burst)
            if limit is not None and not admit(address.key, limit, verdict.measured_at_us, now_s):
                excess.append((place, self._refuse(limit, verdict.timestamp)))
        return excess

    def _refuse(self, limit: Limit, timestamp: str | None) -> Rejected | Dropped:
        if self.is_dropped:
            return Dropped(Reason.RATE_LIMITED)
        return Rejected(Reason.RATE_LIMITED, Layer.POLICY, limit.explain(), timestamp=timestamp)
