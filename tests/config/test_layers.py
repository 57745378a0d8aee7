from pathlib import Path

import pytest

from bridge.config.sections import MqttTls, Route, Secret
from tests.config.support import load_text, problems_of


def test_each_layer_overrides_the_one_before_and_is_named_as_origin(tmp_path: Path) -> None:
    loaded = load_text(
        tmp_path,
        "[mqtt]\nhost = 'file'\nport = 1\nkeep_alive_s = 2",
        environment={"BRIDGE__MQTT__HOST": "variable", "bridge__mqtt__port": "3"},
        overrides=["mqtt.host=argument"],
    )

    assert loaded.config.mqtt.host == "argument"
    assert loaded.config.mqtt.port == 3
    assert loaded.config.mqtt.keep_alive_s == 2
    assert {
        key: loaded.origins[key] for key in loaded.origins if "default" not in loaded.origins[key]
    } == {
        "mqtt.host": "argument --set mqtt.host",
        "mqtt.port": 'environment variable "bridge__mqtt__port"',
        "mqtt.keep_alive_s": f'config file "{tmp_path}/x.toml" line 4',
    }


@pytest.mark.parametrize("layer", ["environment", "argument"])
@pytest.mark.parametrize(
    ("text", "password"),
    [
        pytest.param("{ env = 'B' }", Secret(env="B"), id="another source replaces the first"),
        pytest.param("{ file = '/c' }", Secret(file="/c"), id="same source"),
    ],
)
def test_a_secret_of_a_later_layer_replaces_the_source_of_an_earlier_one(
    tmp_path: Path, layer: str, text: str, password: Secret
) -> None:
    (tmp_path / "c").touch()
    is_variable = layer == "environment"

    problems = problems_of(
        tmp_path,
        "[mqtt]\nusername = 'u'\nport = 0\npassword = { file = '/a' }",
        environment={"BRIDGE__MQTT__PASSWORD": text} if is_variable else {},
        overrides=[] if is_variable else [f"mqtt.password={text}"],
    )

    where = f'"{password.env}" is not set' if password.env else '"/c" could not be read'
    assert len(problems) == 2
    assert where in problems[1]


def test_two_sources_of_one_secret_in_the_same_layer_are_refused(tmp_path: Path) -> None:
    problems = problems_of(
        tmp_path,
        "[mqtt]\nusername = 'u'",
        environment={"BRIDGE__MQTT__PASSWORD__ENV": "A", "BRIDGE__MQTT__PASSWORD__FILE": "/b"},
    )

    assert problems == [
        (
            'environment variable "BRIDGE__MQTT__PASSWORD__ENV":'
            " mqtt.password: a secret names exactly"
            ' one of file, env or credential, got file and env; write { file = "..." }'
        )
    ]


def test_a_table_is_merged_into_what_is_there(tmp_path: Path) -> None:
    loaded = load_text(
        tmp_path,
        "[mqtt]\nport = 1\n[mqtt.tls]\nserver_name = 'a'",
        overrides=["mqtt={ host = 'b', tls = { minimum_version = '1.3' } }"],
    )

    assert loaded.config.mqtt.port == 1
    assert loaded.config.mqtt.host == "b"
    assert loaded.config.mqtt.tls == MqttTls(server_name="a", minimum_version="1.3")


def test_an_empty_table_switches_tls_on(tmp_path: Path) -> None:
    loaded = load_text(tmp_path, "", environment={"BRIDGE__MQTT__TLS": "{}"})

    assert loaded.config.mqtt.tls == MqttTls()


def test_routes_are_changed_and_appended_by_index(tmp_path: Path) -> None:
    loaded = load_text(
        tmp_path,
        "",
        environment={"BRIDGE__ROUTE__0__KAFKA_TOPIC": "x", "BRIDGE__ROUTE__1__FILTER": "a/+"},
        overrides=["route[0].user_properties=['p']", "route[2]={ filter = 'b/+' }"],
    )

    assert loaded.config.route == (
        Route(kafka_topic="x", user_properties=("p",)),
        Route(filter="a/+"),
        Route(filter="b/+"),
    )


@pytest.mark.parametrize(
    ("text", "host"),
    [
        pytest.param("'quoted'", "quoted", id="literal"),
        pytest.param("bare", "bare", id="no literal"),
        pytest.param("a=b", "a=b", id="with an equals sign"),
    ],
)
def test_a_value_is_a_literal_or_else_the_text_it_is(tmp_path: Path, text: str, host: str) -> None:
    loaded = load_text(tmp_path, "", overrides=[f"mqtt.client_id={text}"])

    assert loaded.config.mqtt.client_id == host


def test_a_value_of_several_lines_cannot_smuggle_in_a_second_key(tmp_path: Path) -> None:
    loaded = load_text(tmp_path, "", environment={"BRIDGE__MQTT__USERNAME": "1\nx = 2"})

    assert loaded.config.mqtt.username == "1\nx = 2"


def test_a_property_name_with_dots_is_quoted_in_an_argument(tmp_path: Path) -> None:
    loaded = load_text(tmp_path, "", overrides=['kafka.properties."linger.ms"=5'])

    assert loaded.config.kafka.properties == {"linger.ms": 5}
    assert loaded.origins['kafka.properties."linger.ms"'] == (
        'argument --set kafka.properties."linger.ms"'
    )


def test_a_placeholder_in_the_file_may_be_wrong_if_a_later_layer_replaces_it(
    tmp_path: Path,
) -> None:
    loaded = load_text(tmp_path, "[mqtt]\nclient_id = ''", overrides=["mqtt.client_id=a"])

    assert loaded.config.mqtt.client_id == "a"


def test_other_environment_variables_are_left_alone(tmp_path: Path) -> None:
    loaded = load_text(tmp_path, "", environment={"BRIDGE_HOME": "x", "BRIDGE": "y", "PATH": "z"})

    assert set(loaded.origins.values()) == {"default"}


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        pytest.param(
            "BRIDGE__MQTT__PROT", "1", 'mqtt.prot: unknown key; meant "port"?', id="misspelt"
        ),
        pytest.param(
            "BRIDGE__MQTT__PORT",
            "70000",
            "mqtt.port: Expected int <= 65535, got 70000",
            id="out of bounds",
        ),
        pytest.param(
            "BRIDGE__MQTT____PORT",
            "1",
            "a level has no name; write BRIDGE__SECTION__KEY=value",
            id="empty level",
        ),
        pytest.param(
            "BRIDGE__ROUTE__3__FILTER",
            "a/+",
            "route[3] does not exist and is not the next one; the next one is route[1]",
            id="a gap between routes",
        ),
        pytest.param(
            "BRIDGE__ROUTE__FILTER",
            "a/+",
            'route is an array; write "route[0].filter"',
            id="route without index",
        ),
        pytest.param(
            "BRIDGE__MQTT__0",
            "a",
            "mqtt has keys, not elements such as 0",
            id="index into a table",
        ),
        pytest.param(
            "BRIDGE__KAFKA__PASSWORD",
            "hunter2",
            "kafka.password: a secret is never inline;"
            ' write password = { file = "..." }, or env or credential',
            id="inline secret",
        ),
    ],
)
def test_a_problem_from_the_environment_names_the_variable(
    tmp_path: Path, name: str, value: str, problem: str
) -> None:
    problems = problems_of(tmp_path, "", environment={name: value})

    assert problems == [f'environment variable "{name}": {problem}']


def test_a_variable_given_twice_in_different_case_is_refused(tmp_path: Path) -> None:
    environment = {"BRIDGE__MQTT__PORT": "1", "Bridge__Mqtt__Port": "2"}

    problems = problems_of(tmp_path, "", environment=environment)

    assert problems == [
        (
            'environment variable "Bridge__Mqtt__Port": mqtt.port: is'
            " given twice, case does not count;"
            " unset one"
        )
    ]


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        pytest.param(
            "mqtt.prot=1", 'mqtt.prot: mqtt.prot: unknown key; meant "port"?', id="misspelt"
        ),
        pytest.param(
            "mqtt.port",
            '"mqtt.port": is not KEY=VALUE; write --set mqtt.port=1884'
            " or --set 'route[0].kafka_topic=x'",
            id="no value",
        ),
        pytest.param(
            "mqtt..port=1",
            '"mqtt..port": is not KEY=VALUE; write --set mqtt.port=1884'
            " or --set 'route[0].kafka_topic=x'",
            id="empty level",
        ),
        pytest.param(
            "mqtt.password=hunter2",
            "mqtt.password: mqtt.password: a secret is never inline;"
            ' write password = { file = "..." }, or env or credential',
            id="inline secret",
        ),
    ],
)
def test_a_problem_from_an_argument_names_it(tmp_path: Path, override: str, problem: str) -> None:
    problems = problems_of(tmp_path, "", overrides=[override])

    assert problems == [f"argument --set {problem}"]


def test_a_scalar_where_a_table_belongs_is_told_even_when_a_later_layer_makes_it_one(
    tmp_path: Path,
) -> None:
    problems = problems_of(tmp_path, "mqtt = 5", overrides=["mqtt.port=1"])

    assert problems == ['config file "x.toml" line 1: mqtt: Expected a table, got 5']
