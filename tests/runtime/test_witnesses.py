"""Who looks at single messages sees each end once, and can hold none."""

from collections.abc import Sequence

import pytest

from bridge.kafka.record import Instant, Kept, Record
from bridge.kafka.shipment import Settleable, Shipment, shares_of
from bridge.mqtt.ack_ledger import Receipt
from bridge.mqtt.packets import Inbound
from bridge.pipeline.flow import Outcome
from bridge.runtime.detour import Safe
from bridge.runtime.witnesses import PLACES_MAX, End, Place, Witnesses, packet_id_of
from tests.pipeline.given import RECEIVED


class Seeing:
    """A witness that wants one key, and writes down what it is told."""

    def __init__(self, *, error: Exception | None = None) -> None:
        self.seen: list[tuple[End, float | None, Place | None]] = []
        self._error = error

    def wants(self, record: Record) -> bool:
        return record.key == b"wanted"

    def judged(self, packets: Sequence[Inbound], outcomes: Sequence[Outcome], now: Instant) -> None:
        """See nothing in it."""

    def ended(
        self,
        record: Record,
        receipt: Settleable | None,
        end: End,
        *,
        now_s: float | None,
        place: Place | None,
    ) -> None:
        del record, receipt
        if self._error is not None:
            raise self._error
        self.seen.append((end, now_s, place))


def shipment(
    key: bytes = b"wanted",
    *,
    sequence: int = 1,
    receipt: Settleable | None = None,
    entry: object = None,
) -> Shipment:
    origin = Kept("devices/d/telemetry", b"", None)
    record = Record("t", key, b"", [], RECEIVED, origin)
    return Shipment(sequence, record, receipt, memory_bytes=0, owed_since_s=7.0, entry=entry)


def test_nobody_is_asked_while_nobody_wants_to_see() -> None:
    witnesses, seeing = Witnesses(), Seeing()
    told: list[bool] = []
    witnesses.on_change = lambda: told.append(witnesses.is_on)

    witnesses.add(seeing)
    witnesses.remove(seeing)

    assert [True, False] == told


def test_what_kafka_confirms_is_told_with_its_place_to_who_wants_it() -> None:
    witnesses, seeing = Witnesses(), Seeing()
    witnesses.add(seeing)
    mine, other = shipment(sequence=1), shipment(b"other", sequence=2)

    for number, each in enumerate((mine, other)):
        witnesses.note_place(each, 3, 40 + number)
    witnesses.confirmed([mine, other], 9.0)

    assert [(End.PRODUCED, 9.0, (3, 40))] == seeing.seen


def test_a_row_that_drains_is_not_taken_for_a_message_that_came_now() -> None:
    witnesses, seeing = Witnesses(), Seeing()
    witnesses.add(seeing)

    witnesses.confirmed([shipment(entry=object())], 9.0)
    witnesses.confirmed([shipment(entry=object(), receipt=Receipt(1))], 9.0)
    witnesses.spooled([Safe(shipment().record, Receipt(2))], 9.0)

    assert [(End.DRAINED, None), (End.PRODUCED, 9.0), (End.SPOOLED, 9.0)] == [
        (end, now_s) for end, now_s, _ in seeing.seen
    ]


def test_a_bug_of_a_witness_ends_the_witness_and_nothing_else() -> None:
    witnesses, broken, sound = Witnesses(), Seeing(error=RuntimeError("a bug")), Seeing()
    faults: list[Exception] = []
    witnesses.on_fault = faults.append
    witnesses.add(broken)
    witnesses.add(sound)

    witnesses.confirmed([shipment(), shipment()], 9.0)

    assert ["a bug"] == [str(each) for each in faults]
    assert 2 == len(sound.seen)
    assert witnesses.is_on


def test_places_of_records_whose_end_is_never_told_do_not_pile_up() -> None:
    witnesses, seeing = Witnesses(), Seeing()
    witnesses.add(seeing)

    for sequence in range(PLACES_MAX + 1):
        witnesses.note_place(shipment(sequence=sequence), 0, sequence)
    witnesses.confirmed([shipment(sequence=0), shipment(sequence=PLACES_MAX)], 9.0)

    assert [None, (0, PLACES_MAX)] == [place for _, _, place in seeing.seen]


@pytest.mark.parametrize(
    ("receipt", "packet_id"),
    [
        pytest.param(Receipt(7), 7, id="a message"),
        pytest.param(shares_of(Receipt(8), 2)[1], 8, id="a reading of a batch"),
        pytest.param(shares_of(None, 1)[0], None, id="a reading at QoS 0"),
        pytest.param(None, None, id="a message at QoS 0"),
    ],
)
def test_the_packet_id_is_that_of_the_publish(
    receipt: Settleable | None, packet_id: int | None
) -> None:
    assert packet_id == packet_id_of(receipt)
