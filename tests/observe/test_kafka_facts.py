import math
from typing import Any

import msgspec
import pytest

from bridge.observe.kafka_facts import KafkaFacts, kafka_facts

BROKER: dict[str, Any] = {
    "nodeid": 1,
    "state": "UP",
    "outbuf_cnt": 2,
    "waitresp_cnt": 3,
    "txerrs": 1,
    "txretries": 4,
    "req_timeouts": 5,
    "rtt": {"p99": 2_500, "max": 9_999},
    "int_latency": {"p99": 7_000},
    "throttle": {"max": 120, "p99": 100},
}
GROUP: dict[str, Any] = {"nodeid": -1, "state": "INIT", "outbuf_cnt": -1, "waitresp_cnt": -1}


def said(**statistics: Any) -> KafkaFacts:
    return kafka_facts(msgspec.json.encode(statistics).decode())


def test_of_several_brokers_the_slowest_and_the_sum_are_told() -> None:
    slow = {**BROKER, "nodeid": 2, "state": "CONNECT", "rtt": {"p99": 80_000}}

    facts = said(
        msg_cnt=7, msg_size=700, txmsgs=40, txmsg_bytes=4_000, brokers={"a": BROKER, "b": slow}
    )

    assert facts == KafkaFacts(
        round_trip_p99_s=0.08,
        queue_wait_p99_s=0.007,
        throttle_max_s=0.12,
        queue_records=7,
        queue_bytes=700,
        requests_waiting=4,
        requests_in_flight=6,
        brokers=2,
        brokers_up=1,
        records_sent=40,
        sent_bytes=4_000,
        request_retries=8,
        request_timeouts=10,
        request_errors=2,
    )


def test_the_groups_that_librdkafka_lists_among_the_brokers_are_none() -> None:
    facts = said(brokers={"GroupCoordinator": GROUP, "a": BROKER})

    assert (1, 1) == (facts.brokers, facts.brokers_up)
    assert (2, 3) == (facts.requests_waiting, facts.requests_in_flight)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"brokers": 3}', '{"msg_cnt": "many"}'])
def test_what_is_written_in_another_way_is_nothing_known(text: str) -> None:
    facts = kafka_facts(text)

    assert math.isnan(facts.round_trip_p99_s)
    assert 0 == facts.brokers
