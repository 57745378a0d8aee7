"""What librdkafka says of itself every few seconds, as the few numbers that are worth a series."""

import math
from typing import Final

import msgspec

_US_PER_S: Final = 1e6
_MS_PER_S: Final = 1e3


class KafkaFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Over all brokers: the slowest, or the sum. The default is a client that has said nothing."""

    round_trip_p99_s: float = math.nan
    queue_wait_p99_s: float = math.nan
    throttle_max_s: float = math.nan
    queue_records: int = 0
    queue_bytes: int = 0
    requests_waiting: int = 0
    requests_in_flight: int = 0
    brokers: int = 0
    brokers_up: int = 0
    records_sent: int = 0
    sent_bytes: int = 0
    request_retries: int = 0
    request_timeouts: int = 0
    request_errors: int = 0


class _Window(msgspec.Struct, frozen=True):
    p99: int = 0
    max: int = 0


class _Broker(msgspec.Struct, frozen=True):
    """One entry of `brokers`; the groups of librdkafka itself have the node id -1."""

    node_id: int = msgspec.field(default=-1, name="nodeid")
    state: str = ""
    outbuf_cnt: int = 0
    waitresp_cnt: int = 0
    txerrs: int = 0
    txretries: int = 0
    req_timeouts: int = 0
    rtt: _Window = _Window()
    int_latency: _Window = _Window()
    throttle: _Window = _Window()


class _Statistics(msgspec.Struct, frozen=True):
    msg_cnt: int = 0
    msg_size: int = 0
    txmsgs: int = 0
    txmsg_bytes: int = 0
    brokers: dict[str, _Broker] = {}


_DECODER: Final = msgspec.json.Decoder(_Statistics)


def kafka_facts(statistics: str) -> KafkaFacts:
    """Read librdkafka's statistics; what it does not say, or says in another way, is left out."""
    try:
        said = _DECODER.decode(statistics)
    except msgspec.DecodeError:
        return KafkaFacts()
    brokers = said.brokers.values()
    return KafkaFacts(
        round_trip_p99_s=max((each.rtt.p99 for each in brokers), default=0) / _US_PER_S,
        queue_wait_p99_s=max((each.int_latency.p99 for each in brokers), default=0) / _US_PER_S,
        throttle_max_s=max((each.throttle.max for each in brokers), default=0) / _MS_PER_S,
        queue_records=said.msg_cnt,
        queue_bytes=said.msg_size,
        requests_waiting=sum(max(0, each.outbuf_cnt) for each in brokers),
        requests_in_flight=sum(max(0, each.waitresp_cnt) for each in brokers),
        brokers=sum(each.node_id >= 0 for each in brokers),
        brokers_up=sum(each.node_id >= 0 and each.state == "UP" for each in brokers),
        records_sent=said.txmsgs,
        sent_bytes=said.txmsg_bytes,
        request_retries=sum(each.txretries for each in brokers),
        request_timeouts=sum(each.req_timeouts for each in brokers),
        request_errors=sum(each.txerrs for each in brokers),
    )
