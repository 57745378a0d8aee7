"""A drain that was never run, for tests of what becomes of measurements."""

from benchmarks.figures import Drain


def given_drain(contender: str, round_number: int, *, cpu_s: float, took_s: float = 10.0) -> Drain:
    return Drain(
        contender=contender,
        round=round_number,
        messages=1_000_000,
        took_s=took_s,
        cpu_s=cpu_s,
        start_cpu_s=0.5,
        memory_peak_bytes=60_000_000,
        mosquitto_cpu_s=5.0,
        kafka_cpu_s=None,
    )
