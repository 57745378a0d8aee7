"""What was measured of transactions becomes a table; pure."""

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any, Final

import msgspec

_NS_PER_MS: Final = 1e6
IDEMPOTENT: Final = "idempotent"


def quantile(ordered: Sequence[float], share: float) -> float:
    """Return the least value that at least this share of all does not exceed."""
    assert ordered, "nothing was measured"
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


class Latency(msgspec.Struct, frozen=True):
    """How long records took, milliseconds."""

    p50_ms: float
    p99_ms: float
    most_ms: float

    @classmethod
    def of(cls, waited_ns: Sequence[int]) -> "Latency":
        """Summarise spans in nanoseconds."""
        ordered = sorted(span / _NS_PER_MS for span in waited_ns)
        return cls(quantile(ordered, 0.5), quantile(ordered, 0.99), ordered[-1])


class LoadFigures(msgspec.Struct, frozen=True, kw_only=True):
    """A steady rate, as the producer saw it."""

    safe: Latency
    """From due until it may be acknowledged."""
    cpu_us: float
    kafka_cpu_us: float
    commits: int


class DrainFigures(msgspec.Struct, frozen=True, kw_only=True):
    """As fast as the window allowed."""

    window: int
    rate_per_s: float
    cpu_us: float
    kafka_cpu_us: float
    commits: int


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """One variant in one round."""

    round: int
    interval_ms: int | None
    """None: no transactions."""
    load: LoadFigures
    visible: Latency
    """From due until a consumer that reads committed records had it."""
    drains: list[DrainFigures]

    @property
    def variant(self) -> str:
        """Name the variant as the table does."""
        return IDEMPOTENT if self.interval_ms is None else f"commit each {self.interval_ms} ms"


Number = Callable[[Sample], float]


def in_turn(intervals: Sequence[int], round_number: int) -> list[int | None]:
    """Order the variants of a round: the reverse of the last, so that drift falls on all alike."""
    variants: list[int | None] = [None, *intervals]
    return variants if round_number % 2 == 0 else variants[::-1]


def ratio(samples: Sequence[Sample], variant: str, number: Number) -> float:
    """Take the median over the rounds of this variant over the idempotent producer."""
    base = {each.round: number(each) for each in samples if each.variant == IDEMPOTENT}
    return median(
        number(each) / base[each.round]
        for each in samples
        if each.variant == variant and each.round in base
    )


def _drain_rate(index: int) -> Number:
    return lambda sample: sample.drains[index].rate_per_s


def table(samples: Sequence[Sample]) -> str:
    """Write a Markdown table, a row a variant; medians of the rounds, the most of all rounds."""
    windows = [each.window for each in samples[0].drains]
    heads = [
        "variant",
        "safe p50 / p99 / most, ms",
        "p99 ratio",
        "visible p50 / p99 / most, ms",
        *(f"records/s, window {window:,} (ratio)" for window in windows),
        "CPU us steady / drain",
        "Kafka's",
    ]
    rows = [heads, ["---"] * len(heads)]
    variants = dict.fromkeys(each.variant for each in sorted(samples, key=_rank))
    rows += [_row(samples, variant, len(windows)) for variant in variants]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _rank(sample: Sample) -> int:
    return sample.interval_ms or 0


def _row(samples: Sequence[Sample], variant: str, windows: int) -> list[str]:
    own = [each for each in samples if each.variant == variant]

    def middle(number: Number) -> float:
        return median(number(each) for each in own)

    def triple(latency: Callable[[Sample], Latency]) -> str:
        p50 = middle(lambda each: latency(each).p50_ms)
        p99 = middle(lambda each: latency(each).p99_ms)
        most = max(latency(each).most_ms for each in own)
        return f"{p50:.1f} / {p99:.1f} / {most:.0f}"

    rates = []
    for index in range(windows):
        rate = _drain_rate(index)
        rates.append(f"{middle(rate):,.0f} ({ratio(samples, variant, rate):.2f})")
    cpu = [middle(lambda each: each.load.cpu_us), middle(lambda each: each.drains[-1].cpu_us)]
    kafka = [
        middle(lambda each: each.load.kafka_cpu_us),
        middle(lambda each: each.drains[-1].kafka_cpu_us),
    ]
    return [
        variant,
        triple(lambda each: each.load.safe),
        f"{ratio(samples, variant, lambda each: each.load.safe.p99_ms):.1f}",
        triple(lambda each: each.visible),
        *rates,
        f"{cpu[0]:.1f} / {cpu[1]:.1f}",
        f"{kafka[0]:.0f} / {kafka[1]:.0f}",
    ]


def as_json(samples: Sequence[Sample], about: Mapping[str, Any]) -> bytes:
    """Write every measurement."""
    document = {"about": about, "samples": samples}
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"
