"""The socket while it is not read for a moment, so that more packets come together."""

import asyncio
import errno
from collections.abc import Callable
from types import SimpleNamespace
from typing import cast

from msgspec import structs

from bridge.config.sections import MqttSection
from bridge.mqtt.events import Event, Received, TimedOut
from bridge.mqtt.rhythm import FULL_BYTES
from bridge.mqtt.session import WINDOW_USED_S, Session
from bridge.runtime.mqtt_transport import LINGER_S, LOOK_S, LinkObserver, MqttLink, MqttProtocol
from tests.mqtt.given import connack, publish, settings, suback


class _Socket(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.is_read = True
        self.is_finished = False
        self.is_aborted = False
        self.is_reset = False

    def pause_reading(self) -> None:
        self.is_read = False

    def resume_reading(self) -> None:
        self.is_read = True

    def is_closing(self) -> bool:
        return False

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        if self.is_reset:
            raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")
        self.is_finished = True

    def abort(self) -> None:
        self.is_aborted = True

    def write(self, data: bytes | bytearray | memoryview) -> None:
        del data


class _Timer:
    def __init__(self, delay_s: float, callback: Callable[[], None]) -> None:
        self.delay_s = delay_s
        self.callback = callback
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


class _Stand:
    """A connection that is subscribed, on a loop whose timers the test lets ring."""

    def __init__(self) -> None:
        self.received = 0
        self.ended: list[Event] = []
        self.now = 0.0
        self.on_received: Callable[[], None] = lambda: None
        self.timers: list[_Timer] = []
        self.socket = _Socket()
        self.session = Session(settings())
        loop = SimpleNamespace(
            create_future=asyncio.get_running_loop().create_future,
            call_later=self._call_later,
        )
        observer = SimpleNamespace(on_received=self._take, on_event=self._note, on_bug=self._raise)
        link = SimpleNamespace(
            session=self.session,
            loop=loop,
            observer=observer,
            is_stopping=False,
            protocol=None,
            monotonic_s=lambda: self.now,
            rest_s=0.005,
        )
        self.protocol = MqttProtocol(cast("MqttLink", link), password=None)
        self.protocol.connection_made(self.socket)
        self.protocol.data_received(connack() + suback(1))
        # More than will be owed again, a while ago: no reason not to rest.
        self.protocol.data_received(b"".join(publish(each) for each in range(500, 510)))
        self.now += WINDOW_USED_S

    def _call_later(self, delay_s: float, callback: Callable[[], None]) -> _Timer:
        self.timers.append(_Timer(delay_s, callback))
        return self.timers[-1]

    def _take(self, event: Event) -> None:
        assert isinstance(event, Received)
        self.received += len(event.packets)
        for receipt in event.receipts:
            assert receipt is not None
            receipt.settle()
        self.session.acknowledge(now=0.0)
        self.on_received()

    def _note(self, event: Event) -> None:
        if isinstance(event, TimedOut):
            self.ended.append(event)

    def _raise(self, error: Exception) -> None:
        raise error

    def trickle(self) -> None:
        """Read single packets, one right after the other, until the socket rests."""
        for packet_id in range(1, 400):
            self.protocol.data_received(publish(packet_id))
            if not self.socket.is_read:
                return
        raise AssertionError("it never rests")

    def await_answer_to_ping(self) -> None:
        """Let the time go by until a PINGREQ is sent."""
        self.now += settings().keep_alive_s
        self.ring()
        self.ring()

    def ring(self) -> None:
        """Let the timer ring that was set last."""
        timer = self.timers[-1]
        if not timer.is_cancelled:
            timer.callback()


async def test_a_trickle_is_read_again_when_the_rest_is_over() -> None:
    stand = _Stand()

    stand.trickle()
    stand.ring()

    assert stand.socket.is_read
    before = stand.received
    stand.trickle()
    assert stand.received > before


async def test_the_end_of_a_rest_does_not_read_what_the_bounds_forbid() -> None:
    stand = _Stand()
    stand.trickle()

    stand.protocol.pause_reading()
    stand.ring()

    assert not stand.socket.is_read
    stand.protocol.resume_reading()
    assert stand.socket.is_read


async def test_a_read_that_reaches_a_bound_is_followed_by_no_rest() -> None:
    stand = _Stand()
    stand.trickle()
    stand.ring()
    stand.on_received = stand.protocol.pause_reading
    timers = len(stand.timers)

    stand.protocol.data_received(publish(9))

    assert not stand.socket.is_read
    assert timers == len(stand.timers)


async def test_a_timer_in_a_rest_lets_the_socket_be_read_first() -> None:
    stand = _Stand()
    (of_session,) = stand.timers
    stand.trickle()

    of_session.callback()

    assert stand.socket.is_read
    assert stand.timers[-1].delay_s == LOOK_S


async def test_a_loop_that_stood_still_reads_before_it_says_that_an_answer_is_missing() -> None:
    stand = _Stand()
    stand.await_answer_to_ping()
    stand.now += 3_600.0

    stand.ring()
    stand.protocol.data_received(b"\xd0\x00")  # PINGRESP, which lay in the socket all the time.
    stand.ring()

    assert not stand.ended


async def test_a_loop_that_stood_still_says_so_where_nothing_lay_in_the_socket() -> None:
    stand = _Stand()
    stand.await_answer_to_ping()
    stand.now += 3_600.0

    stand.ring()
    assert not stand.ended
    stand.ring()

    assert [type(each) for each in stand.ended] == [TimedOut]


async def test_a_large_read_is_followed_by_a_turn_of_the_loop() -> None:
    stand = _Stand()
    large = publish(9, payload=b"x" * FULL_BYTES)

    stand.protocol.data_received(large)

    assert not stand.socket.is_read
    assert 0.0 == stand.timers[-1].delay_s
    stand.ring()
    assert stand.socket.is_read


async def test_a_part_of_a_large_packet_is_followed_by_a_turn_as_well() -> None:
    stand = _Stand()

    stand.protocol.data_received(publish(9, payload=b"x" * 2 * FULL_BYTES)[:FULL_BYTES])

    assert not stand.socket.is_read
    stand.ring()
    assert stand.socket.is_read


async def test_the_turn_after_a_large_read_does_not_read_what_the_bounds_forbid() -> None:
    stand = _Stand()
    stand.protocol.data_received(publish(9, payload=b"x" * FULL_BYTES))

    stand.protocol.pause_reading()
    stand.ring()

    assert not stand.socket.is_read


async def test_an_end_in_a_rest_still_reads_until_the_broker_closes() -> None:
    stand = _Stand()
    stand.trickle()

    stand.protocol.close()

    assert stand.socket.is_finished
    assert stand.socket.is_read
    assert stand.timers[-1].delay_s == LINGER_S


async def test_a_connection_lost_in_a_rest_is_not_read_any_more() -> None:
    stand = _Stand()
    stand.trickle()

    stand.protocol.connection_lost(None)

    assert stand.timers[-1].is_cancelled
    stand.timers[-1].callback()  # It was on its way already.
    assert not stand.socket.is_read


async def test_a_broker_that_resets_behind_its_last_words_is_no_bug_of_ours() -> None:
    stand = _Stand()
    stand.trickle()
    stand.socket.is_reset = True

    stand.protocol.data_received(b"\xe0\x01\x8b")  # DISCONNECT: server shutting down.

    assert stand.socket.is_aborted


def test_the_next_connection_rests_as_a_reload_says() -> None:
    async def reload() -> list[float]:
        observer = cast("LinkObserver", SimpleNamespace())
        section = MqttSection(rest_ms=20)
        link = MqttLink(section, Session(settings()), observer, password=lambda: None)
        before = link.rest_s
        link.renew(structs.replace(section, rest_ms=0))
        return [before, link.rest_s]

    assert [0.020, 0.0] == asyncio.run(reload())
