"""What the process itself takes, under the names that Prometheus' own clients use.

Their collector reads `/proc/stat`, which the sandbox of the unit hides (`ProcSubset=pid`), and then
exports nothing at all. Here it is `/proc/self` alone, and where there is none of it only what the
C library knows.
"""

import os
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

_STATM: Final = Path("/proc/self/statm")
_DESCRIPTORS: Final = Path("/proc/self/fd")


class ProcessMetrics(Collector):
    """CPU, memory, descriptors and start of this process."""

    def __init__(self, *, started_unix_s: float) -> None:
        self._started_unix_s = started_unix_s
        self._page_bytes = resource.getpagesize()

    def collect(self) -> Iterator[Metric]:
        """Read them."""
        times = os.times()
        yield CounterMetricFamily(
            "process_cpu_seconds_total", "User and system time.", times.user + times.system
        )
        yield _gauge("start_time_seconds", "Start, Unix seconds.", self._started_unix_s)
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        yield _gauge("max_fds", "How many descriptors may be open.", soft)
        try:
            virtual, resident = _STATM.read_text(encoding="ascii").split()[:2]
            descriptors = sum(1 for _ in _DESCRIPTORS.iterdir())
        except OSError:
            return
        yield _gauge("open_fds", "How many descriptors are open.", descriptors)
        pages = self._page_bytes
        yield _gauge("virtual_memory_bytes", "Virtual memory.", int(virtual) * pages)
        yield _gauge("resident_memory_bytes", "Resident memory.", int(resident) * pages)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"process_{name}", text, value)
