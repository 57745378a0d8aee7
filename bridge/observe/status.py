"""`GET /status`: everything an operator asks first, as one tree, for `top` and the page.

It holds numbers, states and names of Kafka topics, and the ids of the few devices that stand out:
no secret, and of payloads only what `ops.examples` asks for.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from bridge.observe import health
from bridge.observe.averages import Rate
from bridge.observe.counters import Counters, Outcome
from bridge.observe.examples import Examples
from bridge.observe.fleet_facts import DeviceFacts, FleetFacts, Sort, fleet_tree
from bridge.observe.health import HealthInputs
from bridge.observe.lasting import Lasting
from bridge.observe.recent_latency import RecentLatency
from bridge.observe.reload_facts import ReloadFacts
from bridge.observe.shadow_facts import shadow_tree
from bridge.observe.shedding_facts import SheddingFacts
from bridge.observe.spool_facts import SpoolFacts
from bridge.observe.text import printable
from bridge.pipeline.shadow import Shadow


class Flow(msgspec.Struct, frozen=True):
    """How fast messages come and end; `note` once a second."""

    received: Rate = msgspec.field(default_factory=Rate)
    settled: Rate = msgspec.field(default_factory=Rate)
    latency: RecentLatency = msgspec.field(default_factory=RecentLatency)
    """Has a `note` of its own."""
    lasting: Lasting = msgspec.field(default_factory=Lasting)
    """The same."""

    def note(self, counters: Counters, now: float) -> None:
        """Take the counters."""
        self.received.note(counters.received, now)
        self.settled.note(sum(counters.settled.values()), now)


class StatusInputs(msgspec.Struct, frozen=True, kw_only=True):
    """What the runtime knows at the moment of asking."""

    version: str
    client_id: str
    """Which of several bridges this is."""
    uptime_s: float
    now: float
    """On the monotonic clock."""
    health: HealthInputs
    """With the spool and the outage budget."""
    counters: Counters
    flow: Flow
    in_flight: int
    """QoS 1 messages received and not settled."""
    spooled: int
    """QoS 1 messages acknowledged, on disk, and not yet in Kafka."""
    oldest_unsettled_s: float
    window_used_ratio: float
    dedup_window_s: float
    inflow_per_s: float = 0.0
    """As the outage budget sees it."""
    is_budget_unknown_after: bool = False
    active_devices: int = 0
    fleet: FleetFacts = FleetFacts()
    shedding: SheddingFacts = SheddingFacts()
    reload: ReloadFacts | None = None
    """None: the configuration is that of the start."""
    shadow: Shadow | None = None
    top: Mapping[Sort, Sequence[DeviceFacts]] = {}
    """The few devices that stand out most, in each respect."""
    examples: Examples | None = None
    """None: `ops.examples` is off."""


def status(inputs: StatusInputs) -> dict[str, Any]:
    """Write the tree; every number has its unit in its name."""
    counters = inputs.counters
    is_ready, readiness = health.ready(inputs.health)
    return {
        "version": inputs.version,
        "client_id": printable(inputs.client_id),
        "uptime_s": round(inputs.uptime_s, 1),
        "ready": is_ready,
        "checks": _checks(inputs, readiness["checks"]),
        "conservation": _conservation(inputs),
        "received_qos0": counters.received_qos0,
        "received_per_s": _rate(inputs.flow.received),
        "settled_per_s": _rate(inputs.flow.settled),
        "latency": inputs.flow.latency.as_tree(),
        "oldest_unsettled_s": round(inputs.oldest_unsettled_s, 3),
        "window_used_ratio": round(inputs.window_used_ratio, 4),
        "spool": _spool(inputs.health.spool, counters),
        "shedding": {
            "level": inputs.shedding.level,
            "load_ratio": round(inputs.shedding.load, 4),
            "records": dict(counters.shed),
        },
        "dedup_window_s": round(inputs.dedup_window_s, 1),
        "outage_budget": _budget(inputs),
        "dead_letters": dict(counters.dead_letters),
        "dead_letter_examples": None if inputs.examples is None else inputs.examples.as_tree(),
        "gaps": dict(counters.gaps),
        "producer_rebuilds": counters.producer_rebuilds,
        "reload": None if inputs.reload is None else inputs.reload.as_tree(),
        "active_devices": inputs.active_devices,
        "fleet": fleet_tree(inputs.fleet),
        "shadow": shadow_tree(inputs.shadow),
        "top_devices": {
            str(sort): [each.as_tree() for each in devices] for sort, devices in inputs.top.items()
        },
    }


def _checks(inputs: StatusInputs, checks: Mapping[str, Any]) -> dict[str, Any]:
    """Add since when each part is as it is; null, it has only just become so."""
    seconds = inputs.flow.lasting.seconds(inputs.now)
    return {
        part: {**check, "since_s": round(seconds[part], 1) if part in seconds else None}
        for part, check in checks.items()
    }


def _conservation(inputs: StatusInputs) -> dict[str, int]:
    """Write the equation of conservation, term by term."""
    counters = inputs.counters
    return {
        "received": counters.received,
        "spooled_at_start": counters.spooled_at_start,
        "produced": counters.settled[Outcome.PRODUCED],
        "dead_lettered": counters.settled[Outcome.DEAD_LETTERED],
        "duplicates": counters.settled[Outcome.DUPLICATE],
        "dropped": counters.settled[Outcome.DROPPED],
        "spooled": inputs.spooled,
        "in_flight": inputs.in_flight,
        "residue": counters.residue(inputs.in_flight, inputs.spooled),
    }


def _rate(rate: Rate) -> dict[str, float]:
    return {"now": round(rate.now_per_s, 1), "last_minute": round(rate.lately_per_s, 1)}


def _spool(spool: SpoolFacts, counters: Counters) -> dict[str, Any]:
    return {
        "state": str(spool.state),
        "rows": spool.rows,
        "pending": spool.pending,
        "bytes": spool.live_bytes,
        "bytes_max": spool.bytes_max,
        "silent_topics": list(spool.silent_topics),
        "stuck_records": dict(spool.stuck_topics),
        "error": printable(spool.error),
        "rows_written": counters.spool_rows_written,
        "rows_drained": counters.spool_rows_drained,
        "failures": counters.spool_failures,
    }


def _budget(inputs: StatusInputs) -> dict[str, Any]:
    """Tell unknown from endless, which JSON has no number for."""
    seconds = inputs.health.outage_budget_s
    is_finite = seconds is not None and math.isfinite(seconds)
    state = "unknown" if seconds is None else "limited" if is_finite else "no_inflow"
    return {
        "state": state,
        "seconds": round(seconds, 1) if seconds is not None and is_finite else None,
        "is_unknown_after": inputs.is_budget_unknown_after,
        "inflow_per_s": round(inputs.inflow_per_s, 3),
    }
