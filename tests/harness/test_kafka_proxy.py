"""A client of a proxied cluster never meets a broker but through the proxy."""

import time
from collections.abc import Callable, Iterator

import pytest
from confluent_kafka import KafkaError, Message, Producer
from confluent_kafka.admin import AdminClient

from tests.support.eventually import eventually
from tests.support.in_process_kafka import InProcessKafka
from tests.support.kafka_choice import ChosenKafka
from tests.support.kafka_client import KafkaClient
from tests.support.kafka_proxy import KafkaProxy

UniqueName = Callable[[str], str]


@pytest.fixture(scope="module")
def three_brokers() -> Iterator[InProcessKafka]:
    kafka = InProcessKafka(brokers=3)
    yield kafka
    kafka.close()


@pytest.fixture
def proxy(three_brokers: InProcessKafka) -> Iterator[KafkaProxy]:
    made = KafkaProxy(three_brokers.bootstrap).start()
    yield made
    made.close()


@pytest.fixture
def real_proxy(kafka: ChosenKafka) -> Iterator[KafkaProxy]:
    made = KafkaProxy(kafka.bootstrap).start()
    yield made
    made.close()


def test_every_broker_is_named_by_a_port_of_the_proxy(
    proxy: KafkaProxy, three_brokers: InProcessKafka
) -> None:
    direct = AdminClient({"bootstrap.servers": three_brokers.bootstrap})
    through = AdminClient({"bootstrap.servers": proxy.bootstrap})

    real = {each.port for each in direct.list_topics(timeout=10).brokers.values()}
    told = {each.port for each in through.list_topics(timeout=10).brokers.values()}

    assert (3, 3, set()) == (len(real), len(told), real & told)


def test_records_go_through_to_each_leader(
    proxy: KafkaProxy, three_brokers: InProcessKafka
) -> None:
    topic = three_brokers.create_topic("through", leaders=[1, 2, 3])
    client = KafkaClient(proxy.bootstrap)

    for number in range(9):
        client.produce(topic, [b"value"], key=b"%d" % number)

    assert 9 == len(client.consume_all(topic))


def test_a_real_kafka_is_written_and_read_through_the_proxy(
    kafka: ChosenKafka, real_proxy: KafkaProxy, unique_name: UniqueName
) -> None:
    client = KafkaClient(real_proxy.bootstrap)
    topic = client.create_topic(unique_name("through"))

    client.produce(topic, [b"value"] * 500)

    assert 500 == len(client.consume_all(topic))
    assert 500 == kafka.client.count(topic)


def test_a_cluster_that_is_written_slowly_takes_all_and_is_read_at_its_own_pace(
    proxy: KafkaProxy, three_brokers: InProcessKafka
) -> None:
    topic = three_brokers.create_topic("slow", leaders=[1])
    client = KafkaClient(proxy.bootstrap)
    before_bytes = proxy.bytes_to_server
    proxy.levers.bytes_per_s_to_server = 200_000.0
    began_s = time.monotonic()

    client.produce(topic, [bytes(1_000)] * 100)
    took_s = time.monotonic() - began_s

    assert proxy.bytes_to_server - before_bytes > 100_000
    assert took_s >= 0.5
    assert 100 == len(client.consume_all(topic))


def test_withheld_reports_leave_the_cluster_answering_and_come_once_they_pass_again(
    kafka: ChosenKafka, real_proxy: KafkaProxy, unique_name: UniqueName
) -> None:
    proxy = real_proxy
    topic = kafka.client.create_topic(unique_name("withheld"))
    reports: list[KafkaError | None] = []
    producer = Producer(
        {
            "bootstrap.servers": proxy.bootstrap,
            "enable.idempotence": True,
            "socket.timeout.ms": 2_000,
            "request.timeout.ms": 1_000,
            "log_level": 0,
        }
    )

    def on_delivery(error: KafkaError | None, _: Message) -> None:
        reports.append(error)

    proxy.withholds_delivery_reports = True
    producer.produce(topic, b"value", on_delivery=on_delivery)
    eventually(lambda: (producer.poll(0), proxy.withheld)[1], what="a report is withheld")
    assert [] == reports
    assert 1 == len(producer.list_topics(timeout=10).brokers)
    proxy.withholds_delivery_reports = False

    eventually(lambda: (producer.poll(0), reports)[1], what="the report came")
    assert [None] == reports
    assert 1 == kafka.client.count(topic)
