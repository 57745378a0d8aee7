"""Measurements become a table and a verdict; pure."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any, Final

import msgspec

PROMISE: Final = "promise"
"""The bridge with layers 1 and 2, deduplication, spool and metrics: what the promise needs."""
PROMISE_PROMPT: Final = "promise_prompt"
"""The same without rests, `mqtt.rest_ms = 0`: younger records for more CPU."""
EVERYTHING: Final = "everything"
"""The bridge with all layers, a registry, limits and silence besides."""
BASELINE: Final = "baseline"
BASELINE_PROMPT: Final = "baseline_prompt"
"""The baseline with the bridge's linger."""
FLOOR: Final = "floor"
TELEGRAF: Final = "telegraf"
"""It parses each message and writes one anew, as the bridge does, but checks and adds nothing."""
TELEGRAF_RAW: Final = "telegraf-raw"
"""It carries the bytes as they are, without looking at them and without a key."""
BRIDGES: Final = (PROMISE, EVERYTHING)
OURS: Final = (*BRIDGES, BASELINE, FLOOR)
RIVALS: Final = (TELEGRAF, TELEGRAF_RAW)
"""Measured too where the program is on PATH."""
CONTENDERS: Final = (*OURS, *RIVALS)

_HEAD: Final = (
    f"{'':13} {'CPU us/message':>22} {'messages/s':>26} {'start CPU s':>12} {'peak MB':>8}"
    f" {'Mosquitto us':>13} {'Kafka us':>9}"
)
_US_PER_S: Final = 1e6
_BYTES_PER_MB: Final = 1e6


class Drain(msgspec.Struct, frozen=True, kw_only=True):
    """One contender emptied one queue."""

    contender: str
    round: int
    messages: int
    took_s: float
    """From the first byte of the MQTT broker until Kafka had the last record."""
    cpu_s: float
    """User and system time of the whole process, all threads, in the drain."""
    start_cpu_s: float
    """The same from its start until it waited for the MQTT broker's first byte."""
    memory_peak_bytes: int
    resident_at_end_bytes: int | None = None
    """After the last PUBACK; None, nobody looked."""
    mosquitto_cpu_s: float
    kafka_cpu_s: float | None
    """None: the Kafka cluster is not ours to measure."""

    @property
    def cpu_us(self) -> float:
        """CPU a message, microseconds."""
        return self.cpu_s / self.messages * _US_PER_S

    @property
    def rate_per_s(self) -> float:
        """Messages a second."""
        return self.messages / self.took_s


class Spread(msgspec.Struct, frozen=True):
    """Several measurements of one thing."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Take the median and both ends."""
        return cls(median(values), min(values), max(values))

    def write(self, digits: int) -> str:
        """Write `median (least-most)`."""
        ends = f"{self.least:,.{digits}f}-{self.most:,.{digits}f}"
        return f"{self.median:,.{digits}f} ({ends})"


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """The bridge against another, round by round: both saw the same state of the machine."""

    ours: str
    other: str
    cpu: Spread
    """CPU of the other over CPU of the bridge, a message."""
    rate: Spread
    """Rate of the bridge over rate of the other."""


def compare(drains: Sequence[Drain], ours: str, other: str) -> Comparison | None:
    """Compare a bridge with another in every round that has both; None if none has."""
    by_round: dict[int, dict[str, Drain]] = {}
    for drain in drains:
        by_round.setdefault(drain.round, {})[drain.contender] = drain
    pairs = [
        (found[ours], found[other])
        for found in by_round.values()
        if ours in found and other in found
    ]
    if not pairs:
        return None
    return Comparison(
        ours=ours,
        other=other,
        cpu=Spread.of([theirs.cpu_us / own.cpu_us for own, theirs in pairs]),
        rate=Spread.of([own.rate_per_s / theirs.rate_per_s for own, theirs in pairs]),
    )


def comparisons(drains: Sequence[Drain]) -> list[Comparison]:
    """Compare each bridge with each of the others, as far as they were measured together."""
    others = (BASELINE, FLOOR, *RIVALS)
    found = [compare(drains, ours, other) for ours in BRIDGES for other in others]
    return [each for each in found if each is not None]


def shortfalls(comparison: Comparison | None, *, ratio_min: float) -> list[str]:
    """Name what of the required ratio is missing; the medians of the rounds decide."""
    if comparison is None:
        return ["bridge and baseline were not measured in one round"]
    missing = []
    for what, spread in (("CPU a message", comparison.cpu), ("rate", comparison.rate)):
        if spread.median < ratio_min:
            missing.append(f"{what}: {spread.median:.2f} times better, required {ratio_min:g}")
    return missing


def excess(comparison: Comparison | None, *, ratio_max: float) -> list[str]:
    """Say by how much the bridge costs more than it may over the floor; the medians decide."""
    if comparison is None:
        return ["bridge and floor were not measured in one round"]
    ratio = 1 / comparison.cpu.median
    if ratio <= ratio_max:
        return []
    return [f"CPU a message: {ratio:.2f} times that of the floor, allowed {ratio_max:g}"]


def table(drains: Sequence[Drain]) -> str:
    """Write what was measured, a line a contender, and the ratios."""
    lines = [_HEAD]
    for contender in CONTENDERS:
        own = [drain for drain in drains if drain.contender == contender]
        if own:
            lines.append(_line(contender, own))
    lines += [
        f"{each.ours} against {each.other}: CPU a message {each.other}/{each.ours}"
        f" {each.cpu.write(3)}, rate {each.ours}/{each.other} {each.rate.write(2)}"
        for each in comparisons(drains)
    ]
    return "\n".join(lines)


def _line(contender: str, own: Sequence[Drain]) -> str:
    cpu = Spread.of([drain.cpu_us for drain in own]).write(2)
    rate = Spread.of([drain.rate_per_s for drain in own]).write(0)
    start = median(drain.start_cpu_s for drain in own)
    peak = median(drain.memory_peak_bytes for drain in own) / _BYTES_PER_MB
    mosquitto = median(drain.mosquitto_cpu_s / drain.messages for drain in own) * _US_PER_S
    kafka = [drain.kafka_cpu_s / drain.messages for drain in own if drain.kafka_cpu_s is not None]
    kafka_us = f"{median(kafka) * _US_PER_S:.1f}" if kafka else "-"
    return (
        f"{contender:13} {cpu:>22} {rate:>26} {start:>12.2f} {peak:>8.0f} {mosquitto:>13.1f}"
        f" {kafka_us:>9}"
    )


def as_json(drains: Sequence[Drain], about: Mapping[str, Any]) -> bytes:
    """Write every measurement and the ratios."""
    ratios = {f"{each.ours}/{each.other}": each for each in comparisons(drains)}
    document = {
        "about": about,
        "drains": [
            msgspec.structs.asdict(drain) | {"cpu_us": drain.cpu_us, "rate_per_s": drain.rate_per_s}
            for drain in drains
        ],
        "ratios": ratios,
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"
