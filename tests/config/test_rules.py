from pathlib import Path

import pytest

from bridge.config.rules import kafka_topic_problem, topic_filter_problem
from tests.config.support import load_text, problems_of, warnings_of


@pytest.mark.parametrize(
    "topic_filter",
    ["devices/+/telemetry", "+", "+/a", "a/+", "/+", "a//+/", "$SYS/+/x", "a b/é/+"],
)
def test_a_filter_with_exactly_one_plus_is_taken(topic_filter: str) -> None:
    assert topic_filter_problem(topic_filter) is None


@pytest.mark.parametrize(
    ("topic_filter", "problem"),
    [
        pytest.param("a/b", "has 0 levels +, but exactly one is the device id", id="no plus"),
        pytest.param("+/a/+", "has 2 levels +, but exactly one is the device id", id="two"),
        pytest.param("a/+/#", "has a #, which leaves open where the device id is", id="hash"),
        pytest.param("a/dev+/x", "has a + beside other characters", id="plus beside others"),
        pytest.param("$share/g/a/+", "is a shared subscription, which has no order", id="share"),
        pytest.param("a\0/+", "has a control or unprintable character", id="NUL"),
        pytest.param("+/" + "é" * 40_000, "is longer than an MQTT topic filter", id="too long"),
    ],
)
def test_a_filter_without_one_clear_device_level_is_refused(
    topic_filter: str, problem: str
) -> None:
    assert (topic_filter_problem(topic_filter) or "").startswith(problem)


@pytest.mark.parametrize(
    ("kafka_topic", "problem"),
    [
        pytest.param("a" * 249, "", id="longest"),
        pytest.param("A-z_0.9", "", id="all characters"),
        pytest.param("a" * 250, "is longer than the 249 characters", id="too long"),
        pytest.param("..", "is no Kafka topic name", id="dots"),
        pytest.param("a/b", 'is no Kafka topic name because of "/"', id="slash"),
        pytest.param("a\n", 'is no Kafka topic name because of "\\n"', id="newline"),
        pytest.param("é", 'is no Kafka topic name because of "é"', id="not ASCII"),
    ],
)
def test_a_kafka_topic_has_a_name_that_kafka_takes(kafka_topic: str, problem: str) -> None:
    assert (kafka_topic_problem(kafka_topic) or "")[: len(problem) or None] == problem


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param(
            "[mqtt]\nshare_group = 'a/b'\n[silence]\nsource = 'kafka'",
            'line 2: mqtt.share_group: "a/b" holds "/", which MQTT allows in no share name; choose'
            " another name",
            id="share name",
        ),
        pytest.param(
            "[mqtt]\nshare_group = 'g'\ncanary_device_id = 'c'\n[silence]\nsource = 'kafka'",
            "line 3: mqtt.canary_device_id: a canary may be dealt to another member of"
            " mqtt.share_group, so its absence proves nothing; remove one of the two",
            id="canary in a share group",
        ),
        pytest.param(
            "[shedding]\nlow_above = 0.95",
            "line 2: shedding.low_above: 0.95 is more than shedding.medium_above (0.9), so medium"
            " would be shed before low; lower this one, or raise that",
            id="low is shed after medium",
        ),
        pytest.param(
            "[[route]]\n[[route]]",
            'line 2: route[1].filter: "devices/+/telemetry" is the filter of route[0] already;'
            " remove one of the two routes",
            id="duplicate filter",
        ),
        pytest.param(
            "[dead_letter]\nkafka_topic = 'telemetry-raw'",
            'line 2: dead_letter.kafka_topic: "telemetry-raw" is the Kafka topic of route[0] too,'
            " so telemetry and dead letters could not be told apart; give one of them"
            " another topic",
            id="dead letters among telemetry",
        ),
        pytest.param(
            "[mqtt]\ncanary_device_id = 'a/b'",
            'line 2: mqtt.canary_device_id: "a/b" is no device id because of "/"; it is written'
            " with A-Z a-z 0-9 _ -",
            id="canary outside its topic",
        ),
        pytest.param(
            "[gaps]\nkafka_topic = 'telemetry-raw'",
            'line 2: gaps.kafka_topic: "telemetry-raw" is the Kafka topic of route[0] too, so gap'
            " records would lie among its records; give one of them another topic",
            id="gaps among telemetry",
        ),
        pytest.param(
            "[gaps]\nkafka_topic = 'telemetry-dlq'",
            'line 2: gaps.kafka_topic: "telemetry-dlq" is the Kafka topic of dead_letter too, so'
            " gap records would lie among its records; give one of them another topic",
            id="gaps among dead letters",
        ),
        pytest.param(
            "[spool]\nafter_s = 25\n[shutdown]\ndrain_timeout_s = 30",
            "line 2: spool.after_s: 25 is not below shutdown.drain_timeout_s less 5 s (25): a stop"
            " would end before the spool took over; lower it, or raise shutdown.drain_timeout_s",
            id="spool after the end of a stop",
        ),
        pytest.param(
            "[spool]\ndirectory = 'spool'",
            'line 2: spool.directory: "spool" is relative: started in another directory, the bridge'
            " would not find what it still owes to Kafka; write the whole path",
            id="spool that depends on the working directory",
        ),
        pytest.param(
            "[mqtt]\npassword = { env = 'SECRET' }",
            "line 2: mqtt.password: there is no mqtt.username to go with it; write one,"
            " or remove the password",
            id="password without username",
        ),
        pytest.param(
            "[mqtt]\nusername = 'u'\npassword = { env = 'SECRET', file = '/x' }",
            "line 3: mqtt.password: a secret names exactly one of file, env or credential,"
            ' got file and env; write { file = "..." }',
            id="two sources",
        ),
        pytest.param(
            "[mqtt]\nusername = 'u'\npassword = {}",
            "line 3: mqtt.password: a secret names exactly one of file, env or credential,"
            ' got none; write { file = "..." }',
            id="no source",
        ),
        pytest.param(
            "[mqtt]\nhost = 'mqtt://broker:1883'",
            'line 2: mqtt.host: "mqtt://broker:1883" is no host name or address; write it alone,'
            " the port stands in mqtt.port, and TLS in mqtt.tls",
            id="URL as host",
        ),
        pytest.param(
            "[mqtt]\nclient_id = 'a\\u0000'".replace("'", '"'),
            "line 2: mqtt.client_id: has a NUL character, which MQTT forbids; remove it",
            id="NUL in client id",
        ),
        pytest.param(
            "[ops]\nlisten = ':9464'",
            'line 2: ops.listen: ":9464" has no host and port; write "host:port", or "[::1]:port"'
            ' for IPv6, for example "127.0.0.1:9464"',
            id="listen without host",
        ),
        pytest.param(
            "[ops]\nlisten = '::1:9464'",
            'line 2: ops.listen: "::1:9464" an IPv6 address needs brackets; write "[::1]:port",'
            ' for example "127.0.0.1:9464"',
            id="IPv6 without brackets",
        ),
        pytest.param(
            "[ops]\nlisten = 'localhost:70000'",
            'line 2: ops.listen: "localhost:70000" has a port that is not between 0 and 65535,'
            ' for example "127.0.0.1:9464"',
            id="port out of range",
        ),
        pytest.param(
            "[ops]\nhosts = ['bridge.example', 'https://bridge.example']",
            'line 2: ops.hosts[1]: "https://bridge.example" is no host name or address; write it'
            ' alone, without scheme, port and brackets, for example "bridge.example.org"',
            id="URL as a name of ours",
        ),
        pytest.param(
            "[ops]\ntoken = { env = 'SECRET', file = 'x' }",
            "line 2: ops.token: a secret names exactly one of file, env or credential,"
            ' got file and env; write { file = "..." }',
            id="token of two sources",
        ),
    ],
)
def test_keys_that_do_not_go_together_are_refused_with_a_remedy(
    tmp_path: Path, text: str, problem: str
) -> None:
    problems = problems_of(tmp_path, text, environment={"SECRET": "hunter2"})

    assert problems == [f'config file "x.toml" {problem}']


def test_a_short_stop_asks_for_a_faster_spool_even_where_the_file_names_none(
    tmp_path: Path,
) -> None:
    (problem,) = problems_of(tmp_path, "[shutdown]\ndrain_timeout_s = 8")

    assert "spool.after_s: 5 is not below shutdown.drain_timeout_s less 5 s (3)" in problem


def test_without_a_spool_nothing_is_asked_of_its_other_keys(tmp_path: Path) -> None:
    text = "[spool]\nbytes_max = 0\nafter_s = 100\n[shutdown]\ndrain_timeout_s = 8"

    assert warnings_of(tmp_path, text) == []


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "[::1]:9464", "localhost:1", "0.0.0.0:65535"])
def test_an_address_to_listen_on_is_taken(tmp_path: Path, listen: str) -> None:
    loaded = load_text(tmp_path, f"[ops]\nlisten = '{listen}'")

    assert loaded.config.ops.listen == listen


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        pytest.param(
            "[mqtt]\nport = 8883",
            "line 2: mqtt.port: 8883 is the port of MQTT over TLS, but there is no mqtt.tls;"
            " write mqtt.tls = {}",
            id="TLS port without TLS",
        ),
        pytest.param(
            "[[route]]\n[[route]]\nfilter = '+/7/telemetry'",
            'line 3: route[1].filter: "+/7/telemetry" overlaps route[0].filter'
            ' "devices/+/telemetry"; a message that matches both may come twice',
            id="overlapping filters",
        ),
        pytest.param(
            "[[route]]\npayload_bytes_max = 3000000",
            "line 2: route[0].payload_bytes_max: 3000000 is more than mqtt.packet_bytes_max"
            " (2097152), which is reached first; raise that one too",
            id="payload bound above packet bound",
        ),
        pytest.param(
            "[mqtt]\nunsettled_bytes_max = 1048576",
            "line 2: mqtt.packet_bytes_max: one packet of 2097152 bytes is more than"
            " mqtt.unsettled_bytes_max (1048576) lets wait; raise that one, or lower this",
            id="one packet above the bound of all",
        ),
        pytest.param(
            '[kafka.properties]\n"linger.ms" = 5000',
            'line 2: kafka.properties."linger.ms": 5000 ms is not below spool.after_s (5): records'
            " that only wait to be sent would be taken for an outage; lower it",
            id="a linger as long as what tells an outage",
        ),
        pytest.param(
            "[spool]\nbytes_max = 1000000",
            "line 2: spool.bytes_max: 1000000 is less than mqtt.unsettled_bytes_max (67108864): the"
            " spool would be full before it holds what is under way; raise it, or write 0 for no"
            " spool",
            id="a spool smaller than what may be under way",
        ),
    ],
)
def test_what_works_but_is_probably_not_meant_is_a_warning(
    tmp_path: Path, text: str, warning: str
) -> None:
    warnings = warnings_of(tmp_path, text)

    assert warnings == [f'config file "x.toml" {warning}']


@pytest.mark.parametrize(
    ("host", "count"),
    [("127.0.0.1", 0), ("::1", 0), ("localhost", 0), ("broker", 1), ("10.0.0.1", 1)],
)
def test_a_password_in_the_open_warns_off_loopback(tmp_path: Path, host: str, count: int) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hunter2")
    secret.chmod(0o600)
    text = f"[mqtt]\nhost = '{host}'\nusername = 'u'\npassword = {{ file = '{secret}' }}"

    warnings = warnings_of(tmp_path, text)

    assert len(warnings) == count
    assert all("without TLS, readable on the way" in warning for warning in warnings)
