"""A fleet that may fall silent, and the seconds passing by."""

from collections.abc import Callable, Iterable

from bridge.fleet.silence import Silence
from bridge.fleet.silence_facts import SilenceFact, SilenceRules

DEVICE = b"sensor-1"
LATE_S = 2.5
"""A tick of the wheel, and a second between two sweeps."""


def each_minute(_: bytes) -> float:
    return 60.0


def silence(
    interval_s_of: Callable[[bytes], float | None] = each_minute, **rules: float
) -> Silence:
    found = Silence(SilenceRules(**rules), interval_s_of=interval_s_of)  # type: ignore[arg-type]
    found.hearing(0.0)
    return found


def sweep(found: Silence, now_s: float, budget: int = 1_000) -> list[SilenceFact]:
    facts: list[SilenceFact] = []
    is_done = False
    while not is_done:
        swept, is_done = found.sweep(now_s, budget)
        facts += swept
    return facts


def pass_by(found: Silence, from_s: int, to_s: int) -> list[tuple[int, SilenceFact]]:
    """Sweep each second, as the runtime does."""
    return [(now_s, fact) for now_s in range(from_s, to_s) for fact in sweep(found, float(now_s))]


def names(facts: Iterable[SilenceFact]) -> list[str]:
    return [type(fact).__name__ for fact in facts]


def fleet(count: int) -> list[bytes]:
    return [b"sensor-%d" % number for number in range(count)]


def speak(found: Silence, devices: list[bytes], from_s: int, to_s: int) -> list[SilenceFact]:
    """Let each device speak once a minute, spread over it, and sweep each second."""
    facts: list[SilenceFact] = []
    for now_s in range(from_s, to_s):
        due = [device for device in devices if int(device[7:]) % 60 == now_s % 60]
        facts += found.heard(due, float(now_s))
        facts += sweep(found, float(now_s))
    return facts


def restart(found: Silence, now_s: float, *, away_s: float, at_s: float = 0.0) -> Silence:
    restarted = Silence(SilenceRules(), interval_s_of=lambda _: None)
    for written in found.dump(now_s):
        restarted.load(written, at_s, away_s=away_s)
    return restarted
