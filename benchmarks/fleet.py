"""What the rooms of the fleet cost: us an operation, the sweep, memory a device.

CPU time, and the best of several rounds: what the code costs, not what a neighbour took.
`python -m benchmarks.fleet [--devices 100000]`
"""

import argparse
import gc
import time
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import msgspec

from bridge.fleet.drift import Drifts
from bridge.fleet.limits import Limit, Limits
from bridge.fleet.silence import BUDGET, Silence
from bridge.fleet.silence_facts import SilenceRules
from bridge.fleet.talkers import Kind, Talkers
from tests.runtime.attendance_stand import Stand

DEVICES: Final = 100_000
BATCH: Final = 100
ROUNDS: Final = 5
NOW_US: Final = 1_750_000_000_000_000
_US_PER_S: Final = 1e6
_MS_PER_S: Final = 1e3


class Sweeping(msgspec.Struct):
    """One whole sweep."""

    slices: int = 0
    total_ms: float = 0.0
    longest_ms: float = 0.0
    facts: int = 0


def best_us(run: Callable[[], Any], operations: int) -> float:
    """Return the least time of an operation."""
    taken = []
    for _ in range(ROUNDS):
        begun = time.thread_time()
        run()
        taken.append(time.thread_time() - begun)
    return min(taken) / operations * _US_PER_S


def sweep(silence: Silence, now_s: float) -> Sweeping:
    """Sweep in slices until it is done."""
    found, is_done = Sweeping(), False
    while not is_done:
        begun = time.thread_time()
        facts, is_done = silence.sweep(now_s)
        took_ms = (time.thread_time() - begun) * _MS_PER_S
        found.slices += 1
        found.total_ms += took_ms
        found.longest_ms = max(found.longest_ms, took_ms)
        found.facts += len(facts)
    return found


def say(name: str, figure: str) -> None:
    """Print one figure."""
    print(f"{name:32} {figure}")


def memory_bytes(fill: Callable[[], object], devices: int) -> float:
    """Return what is allocated for a device; its id is there already, as a record key."""
    tracemalloc.start()
    kept = fill()
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    del kept
    return taken / devices


def batches(devices: list[bytes]) -> list[list[bytes]]:
    """Cut devices into batches."""
    return [devices[at : at + BATCH] for at in range(0, len(devices), BATCH)]


def write_all(slices: Iterable[bytes]) -> str:
    """Write everything; say how long that and its longest slice took, and how many bytes it is."""
    total_ms = longest_ms = 0.0
    count = 0
    each = iter(slices)
    while True:
        begun = time.thread_time()
        written = next(each, None)
        took_ms = (time.thread_time() - begun) * _MS_PER_S
        total_ms += took_ms
        longest_ms = max(longest_ms, took_ms)
        if written is None:
            return f"{total_ms:.0f} ms, longest slice {longest_ms:.1f} ms, {count / 1e6:.1f} MB"
        count += len(written)


def measure_limits(devices: list[bytes]) -> None:
    """Admit live messages of the whole fleet, then of a few devices."""
    limit = Limit.of(10.0, 20)
    assert limit is not None
    clock = iter(range(1_000))

    def admit(limits: Limits, some: list[bytes]) -> Limits:
        now_s = float(next(clock))
        measured_us = NOW_US + int(now_s * _US_PER_S)
        for device in some:
            limits.admit(device, limit, measured_us, now_s)
        return limits

    limits = admit(Limits(), devices)
    few = devices[:100] * 1_000
    all_us = best_us(lambda: admit(limits, devices), len(devices))
    few_us = best_us(lambda: admit(limits, few), len(few))
    memory = memory_bytes(lambda: admit(Limits(), devices), len(devices))
    say("limits.admit", f"{few_us:.3f} us a message of 100 devices, {all_us:.3f} us of all")
    say("limits.dump", write_all(limits.dump(is_settled=True)))
    say("limits", f"{memory:.0f} bytes a device")


def measure_drift(devices: list[bytes]) -> None:
    """Note drifts of devices that send each second, and of devices that send each minute."""
    seconds = iter(range(1_000_000))

    def note(drifts: Drifts, some: list[bytes], step_s: int = 1) -> Drifts:
        now_s = float(next(seconds) * step_s)
        for device in some:
            drifts.note(device, 0.25, now_s)
        return drifts

    drifts = note(Drifts(), devices)
    begun = time.thread_time()
    for _ in range(30):
        note(drifts, devices)
    each_second_us = (time.thread_time() - begun) / 30 / len(devices) * _US_PER_S
    each_minute_us = best_us(lambda: note(drifts, devices, 60), len(devices))
    memory = memory_bytes(lambda: note(Drifts(), devices), len(devices))
    say("drift.note", f"{each_second_us:.3f} us a message, one each second")
    say("drift.note", f"{each_minute_us:.3f} us a message, one each minute")
    say("drift.dump", write_all(drifts.dump()))
    say("drift", f"{memory:.0f} bytes a device")


def heard_once(devices: list[bytes], *, spread_s: float = 0.0, **rules: int) -> Silence:
    """Make a fleet that spoke once a minute, six times."""
    silence = Silence(SilenceRules(**rules), interval_s_of=lambda _: 60.0)
    silence.hearing(0.0)
    every = batches(devices)
    for minute in range(6):
        for at, batch in enumerate(every):
            silence.heard(batch, 60.0 * minute + spread_s * at / len(every))
    return silence


def measure_silence(devices: list[bytes]) -> None:
    """Hear the whole fleet; sweep as it usually is, and at the worst."""
    silence = heard_once(devices, spread_s=60.0)
    every = batches(devices)

    def hear() -> None:
        for batch in every:
            silence.heard(batch, 359.0)

    say("silence.heard", f"{best_us(hear, len(devices)):.3f} us a device")
    usual: list[Sweeping] = []
    sweep(silence, 359.0)
    for second in range(360, 960):
        minute = second % 60
        for batch in every[minute * len(every) // 60 : (minute + 1) * len(every) // 60]:
            silence.heard(batch, float(second))
        usual.append(sweep(silence, float(second)))
    say_sweep("each second", max(usual[300:], key=lambda found: found.total_ms))
    # All heard at one instant, and not looked at since: the whole fleet is in one bucket.
    for fleet_min, name in ((20, "as a fleet"), (10**9, "one by one")):
        rounds: list[list[Sweeping]] = []
        for _ in range(ROUNDS):
            silence = heard_once(devices, fleet_min=fleet_min)
            rounds.append([sweep(silence, now_s) for now_s in (301.0, 450.0, 600.0, 602.0)])
        best = [
            min(column, key=lambda found: found.total_ms) for column in zip(*rounds, strict=True)
        ]
        for what, found in zip(("all live", "all quiet", "silent", "told"), best, strict=True):
            say_sweep(f"{what}, {name}", found)
    memory = memory_bytes(lambda: heard_once(devices), len(devices))
    say("silence.dump", write_all(silence.dump(602.0)))
    say("silence", f"{memory:.0f} bytes a device")


def say_sweep(name: str, found: Sweeping) -> None:
    """Print what a sweep took."""
    say(
        f"silence.sweep, {name}",
        f"{found.total_ms:.1f} ms in {found.slices} slices of {BUDGET},"
        f" longest {found.longest_ms:.1f} ms, {found.facts} facts",
    )


def slices_of(stand: Stand) -> Iterator[float]:
    """Let a second pass, and time each turn of the loop that it takes; CPU, in ms."""
    stand.clock.now += 1.0
    stand.last_heard_s = stand.clock.now
    turns: list[Callable[[], object]] = [
        lambda: stand.attendance.tick(can_hear=True, last_heard_s=stand.clock.now)
    ]
    while True:
        begun = time.thread_time()
        has_turned = turns.pop()() is not False
        if not has_turned:
            break
        yield (time.thread_time() - begun) * _MS_PER_S
        turns.append(stand.clock.turn)
    stand.producer.report()
    stand.producer.taken.clear()


def measure_attendance(devices: list[bytes]) -> None:
    """Let the runtime sweep, tell and send what is told, at the worst.

    Either all fall silent at once, or as many as are told one by one: just under a fifth.
    """
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)  # As in the daemon.
    for silent, name in ((len(devices), "as a fleet"), (19 * len(devices) // 100, "one by one")):
        stand = Stand()
        stand.pass_by(2)
        for batch in batches(devices):
            stand.speak(batch)
        seconds: list[list[float]] = []
        for second in range(250):
            for batch in batches(devices[silent + second % 60 :: 60]):
                stand.speak(batch)
            seconds.append(list(slices_of(stand)))
        longest_ms = max(map(max, seconds))
        busiest = max(seconds, key=sum)
        say(
            f"runtime, a second, {name}",
            f"busiest {sum(busiest):.1f} ms in {len(busiest)} turns of the loop,"
            f" longest turn {longest_ms:.1f} ms, {sum(stand.counters.alerts.values())} alerts",
        )


def measure_talkers(devices: list[bytes]) -> None:
    """Count the messages of a few devices, and of all in turn: the sketch has none of them."""
    for name, some in (("100 devices", devices[:100] * 1_000), ("all in turn", devices)):
        talkers, every = Talkers(now_s=0.0), batches(some)

        def note(talkers: Talkers = talkers, every: list[list[bytes]] = every) -> None:
            for batch in every:
                talkers.note(Kind.MESSAGES, batch, 0.0)

        say(f"talkers.note, {name}", f"{best_us(note, len(some)):.3f} us a message")
    say("talkers.top", f"{best_us(lambda: talkers.top(Kind.MESSAGES, 10, 0.0), 1):.0f} us")


def main() -> None:
    """Measure everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", type=int, default=DEVICES)
    count = parser.parse_args().devices
    devices = [b"device-%06d" % number for number in range(count)]
    print(f"{count} devices, batches of {BATCH}, best of {ROUNDS}")
    for measure in (
        measure_limits,
        measure_drift,
        measure_silence,
        measure_attendance,
        measure_talkers,
    ):
        measure(devices)


if __name__ == "__main__":
    main()
