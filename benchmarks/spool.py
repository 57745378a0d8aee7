"""What the spool costs: rows written, each batch in a transaction of its own, read back, removed.

No brokers and no bridge: `bridge/spool/store.py` on the disk of `--directory`, which should be the
disk that a spool will lie on. A transaction ends with an fdatasync; what that takes is the disk's.
How fast a whole bridge drains is told by tests/faults/test_outages.py.
`python -m benchmarks.spool [--rows 100000] [--batches 1 10 100 1000] [--directory DIR]`
"""

import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.command_line import name_parser
from benchmarks.figures import Spread
from bridge.spool.entry import Entry
from bridge.spool.store import Store

RECORD_BYTES: Final = 540
"""Payload and record of a message of 220 bytes, as they lie in a row."""
_RECORD: Final = b"r" * RECORD_BYTES
READ_ROWS: Final = 2_000
READ_BYTES: Final = 4_000_000
_SECONDS_MAX: Final = 20.0
"""Small batches on a slow disk: so long is enough."""
_KAFKA_TOPIC: Final = "telemetry"
_US_PER_S: Final = 1e6
_MS_PER_S: Final = 1e3


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """What batches of one size took."""

    batch: int
    rows: int
    seconds: float
    cpu_s: float
    transactions_ms: Spread


class Drained(msgspec.Struct, frozen=True, kw_only=True):
    """What reading and removing all of them took."""

    rows: int
    seconds: float
    cpu_s: float


def write(store: Store, rows: int, batch: int) -> Written:
    """Write so many rows, or as many as go into the time."""
    began_s, cpu_s = time.monotonic(), time.process_time()
    took_ms: list[float] = []
    written = 0
    while written < rows and time.monotonic() - began_s < _SECONDS_MAX:
        entries = [
            Entry(_KAFKA_TOPIC, b"device-%04d" % (number % 1_000), number.to_bytes(16), _RECORD)
            for number in range(written, min(written + batch, rows))
        ]
        transaction_s = time.monotonic()
        store.write(entries)
        took_ms.append((time.monotonic() - transaction_s) * _MS_PER_S)
        written += len(entries)
    return Written(
        batch=batch,
        rows=written,
        seconds=time.monotonic() - began_s,
        cpu_s=time.process_time() - cpu_s,
        transactions_ms=Spread.of(took_ms),
    )


def drain(store: Store) -> Drained:
    """Read all rows in their order and remove them, as a drain does once Kafka has them."""
    began_s, cpu_s = time.monotonic(), time.process_time()
    rows, after, is_last = 0, 0, False
    while not is_last:
        found, is_last = store.read(
            _KAFKA_TOPIC, after=after, rows_max=READ_ROWS, bytes_max=READ_BYTES
        )
        store.write([], [each.sequence for each in found])
        rows += len(found)
        after = found[-1].sequence if found else after
    return Drained(rows=rows, seconds=time.monotonic() - began_s, cpu_s=time.process_time() - cpu_s)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = name_parser("spool", __doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 10, 100, 1_000])
    parser.add_argument("--directory", type=Path, help="on the disk that is to be measured")
    parsed = parser.parse_args(arguments)
    print(f"rows of {RECORD_BYTES} bytes; a transaction: median (least-most)")
    print(f"{'rows each':>10} {'rows/s':>9} {'CPU us/row':>11} {'transaction ms':>26}")
    drained: Drained | None = None
    for batch in parsed.batches:
        with tempfile.TemporaryDirectory(dir=parsed.directory, prefix="spool-") as directory:
            store = Store(Path(directory), client_id="bench", bytes_max=1 << 40)
            written = write(store, parsed.rows, batch)
            drained = drain(store)
            store.close()
        print(
            f"{batch:>10,} {written.rows / written.seconds:>9,.0f}"
            f" {written.cpu_s / written.rows * _US_PER_S:>11.1f}"
            f" {written.transactions_ms.write(2):>26}"
        )
        assert drained.rows == written.rows, "rows were lost"
    if drained is not None:
        print(
            f"read and removed by {READ_ROWS:,}: {drained.rows / drained.seconds:,.0f} rows/s,"
            f" {drained.cpu_s / drained.rows * _US_PER_S:.1f} us of CPU a row"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
