"""One producer of librdkafka's, as the door to Kafka holds it."""

import threading
from collections.abc import Callable
from functools import partial
from typing import Final

from confluent_kafka import KafkaError, KafkaException, Producer

from bridge.errors import ConfigError
from bridge.kafka.properties import Properties
from bridge.runtime.librdkafka_log import LogListener, with_debug

STATISTICS_EVERY_MS: Final = 10_000
"""How often librdkafka says how it does, unless `kafka.properties` says otherwise: 0.2 ms of CPU
each time, with 12 partitions at 3 brokers; a message costs nothing more that 800,000 would show."""


class Handle:
    """One producer: tried before it is used, and let go without being waited for.

    Whom it tells is told on the thread that polls.
    """

    def __init__(
        self,
        properties: Properties,
        on_error: Callable[[KafkaError], None],
        on_statistics: Callable[[str], None],
        on_epoch_bumped: Callable[[str], None],
    ) -> None:
        """Raises ConfigError where librdkafka does not accept the properties."""
        self.properties = properties
        self._on_error = on_error
        self._on_statistics = on_statistics
        self._on_epoch_bumped = on_epoch_bumped
        self._trial: list[str] | None = None
        """What librdkafka complained of while it was tried."""
        self._is_over = False
        self._kept: list[Callable[[], None]] | None = None
        """What another thread was told, for the event loop's; None while that one polls."""
        self.listener = LogListener(properties, self._report_epoch_bumped)
        try:
            self._producers = [
                Producer(
                    {
                        "statistics.interval.ms": STATISTICS_EVERY_MS,
                        **with_debug(properties),
                        "error_cb": self._report_error,
                        "stats_cb": self._report_statistics,
                    },
                    logger=self.listener,
                )
            ]
        except KafkaException as error:
            reason = error.args[0].str()
            raise ConfigError([f"kafka: librdkafka refuses the configuration: {reason}"]) from error

    @property
    def producer(self) -> Producer:
        """Return librdkafka's producer."""
        return self._producers[0]

    def _report_error(self, error: KafkaError) -> None:
        if self._trial is not None:
            self._trial.append(error.str())
        else:
            self._tell(partial(self._on_error, error))

    def _report_statistics(self, statistics: str) -> None:
        self._tell(partial(self._on_statistics, statistics))

    def _report_epoch_bumped(self, reason: str) -> None:
        self._tell(partial(self._on_epoch_bumped, reason))

    def _tell(self, told: Callable[[], None]) -> None:
        if self._is_over:
            return
        if self._kept is None:
            told()
        else:
            self._kept.append(told)

    def keep_what_is_told(self) -> None:
        """Keep it until `tell_kept`: for a thread that polls in the event loop's place."""
        self._kept = []

    def tell_kept(self) -> None:
        """Tell what another thread kept, and from now on whatever comes at once."""
        kept, self._kept = self._kept or [], None
        for told in kept:
            told()

    def try_it(self, *, timeout_s: float) -> str | None:
        """Ask the cluster for its brokers; return why it did not answer. Blocking, for a thread."""
        self._trial = []
        try:
            self.producer.list_topics(timeout=timeout_s)
        except KafkaException as error:
            self.producer.poll(0)  # The reason, if librdkafka gave one, waits to be served.
            return self._trial[-1] if self._trial else str(error.args[0].str())
        finally:
            self._trial = None
        return None

    def let_go(self) -> None:
        """Destroy it in a thread, since closing its connections may take a while.

        What it still has is void: nobody hears of it.
        """
        self._is_over = True
        producers, self._producers = self._producers, []
        threading.Thread(target=_destroy, args=(producers,), name="kafka-gone", daemon=True).start()


def _destroy(producers: list[Producer]) -> None:
    """Destroy what only this list knows."""
    producer = producers.pop()
    producer.purge(blocking=False)
    # Its reports must be served all the same: librdkafka holds what they refer to.
    producer.poll(0)
