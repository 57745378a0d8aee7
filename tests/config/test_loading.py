from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from bridge.config import load
from bridge.config.sections import BridgeConfig
from bridge.errors import ConfigError
from tests.config.support import load_text, problems_of


def test_an_empty_file_is_the_defaults(tmp_path: Path) -> None:
    loaded = load_text(tmp_path, "")

    assert loaded.config == BridgeConfig()
    assert set(loaded.origins.values()) == {"default"}
    assert loaded.warnings == ()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param(
            "[mqtt]\n\n\nprot = 1",
            'line 4: mqtt.prot: unknown key; meant "port"?',
            id="misspelt key",
        ),
        pytest.param(
            "port = 1", 'line 1: port: unknown key; meant "mqtt.port"?', id="key outside its table"
        ),
        pytest.param(
            "[log]\nzzz = 1",
            "line 2: log.zzz: unknown key; known here: format, level",
            id="key like no other",
        ),
        pytest.param(
            "[mqtt]\nport = 70000",
            "line 2: mqtt.port: Expected int <= 65535, got 70000",
            id="out of bounds",
        ),
        pytest.param(
            "[mqtt]\nport = '1883'",
            'line 2: mqtt.port: Expected int, got "1883"; write it without quotes',
            id="number in quotes",
        ),
        pytest.param(
            "[mqtt]\nhost = 5",
            "line 2: mqtt.host: Expected str, got 5; write it in quotes",
            id="text without quotes",
        ),
        pytest.param(
            "[mqtt]\nhost = 1979-05-27",
            "line 2: mqtt.host: Expected str, got 1979-05-27",
            id="date",
        ),
        pytest.param(
            "[shutdown]\ndrain_timeout_s = 3",
            "line 2: shutdown.drain_timeout_s: Expected float >= 6.0, got 3: a stop keeps 5 s of"
            " it for itself, the flush to Kafka gets the rest; 30 is the default",
            id="shutdown budget",
        ),
        pytest.param(
            "[validation]\ntimestamp_age_max_s = inf",
            "line 2: validation.timestamp_age_max_s: Expected a finite number, got inf",
            id="infinite",
        ),
        pytest.param(
            "[mqtt]\nunsettled_bytes_max = 99999999999999999999",
            "line 2: mqtt.unsettled_bytes_max: Expected a number of at most 64 bits",
            id="beyond 64 bits",
        ),
        pytest.param(
            "[log]\nlevel = 'inof'",
            'line 2: log.level: Expected one of "debug", "info", "warning", "error",'
            ' got "inof"; meant "info"?',
            id="misspelt choice",
        ),
        pytest.param(
            "[route]\nfilter = 'a/+'",
            "line 1: route: Expected array, got a table; write [[route]]",
            id="one bracket instead of two",
        ),
        pytest.param(
            "[[route]]\nuser_properties = 'a'",
            'line 2: route[0].user_properties: Expected array, got "a"; write it in brackets',
            id="text for an array",
        ),
        pytest.param("mqtt = 5", "line 1: mqtt: Expected table, got 5", id="number for a table"),
        pytest.param(
            "route = []",
            "line 1: route: Expected array of length >= 1, got an array",
            id="no route",
        ),
        pytest.param(
            "[mqtt]\nclient_id = ''",
            'line 2: mqtt.client_id: Expected str of length >= 1, got "": the session, and every'
            " message that waits in it, hangs on a client id that stays the same; write a fixed"
            ' name such as "mqtt-kafka-bridge"',
            id="R48 empty client id",
        ),
        pytest.param(
            "[mqtt]\nsession_expiry_s = 0",
            "line 2: mqtt.session_expiry_s: Expected int >= 1, got 0: with 0 the MQTT broker"
            " forgets the session at each disconnect, and with it every message that came"
            " meanwhile; write seconds, longer than the longest outage, such as 604800",
            id="R48 session expiry 0",
        ),
        pytest.param(
            "[mqtt]\npassword = 'hunter2'",
            "line 2: mqtt.password: a secret is never inline;"
            ' write password = { file = "..." }, or env or credential',
            id="inline password",
        ),
        pytest.param(
            "[kafka]\npassword = 5",
            "line 2: kafka.password: a secret is never inline;"
            ' write password = { file = "..." }, or env or credential',
            id="inline password of digits",
        ),
        pytest.param(
            "[kafka.properties]\nsecurity.protocol = 'SSL'",
            "line 2: kafka.properties.security.protocol: a property name with dots needs quotes;"
            ' write "security.protocol" = ..., or for a secret a table'
            " with file, env or credential",
            id="dots without quotes",
        ),
        pytest.param(
            "[kafka.properties]\n'linger.ms' = 5\n'client.id' = [1]",
            'line 3: kafka.properties."client.id":'
            " Expected bool | int | float | str | table, got an array",
            id="property that is an array",
        ),
        pytest.param(
            '[log]\n"a\\nb\\u001b[31m" = 1',
            'line 2: log."a\\nb\\x1b[31m": unknown key; known here: format, level',
            id="control characters in a key",
        ),
        pytest.param(
            f"[mqtt]\nport = '{'x' * 200}\u202e'",
            f'line 2: mqtt.port: Expected int, got "{"x" * 80}..."; write a number',
            id="long value",
        ),
    ],
)
def test_a_wrong_value_is_one_line_with_its_place_and_remedy(
    tmp_path: Path, text: str, problem: str
) -> None:
    problems = problems_of(tmp_path, text)

    assert problems == [f'config file "x.toml" {problem}']


def test_every_problem_comes_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = """\
[kafka]
bootstrap_server = "a:1"
[mqtt]
port = 0
keep_alive_s = -1
[[route]]
kind = "opaqe"
[[route]]
filter = "a/#"
user_properties = ["ok", 5, "", "fine"]
payload_bytes_max = 0
"""

    problems = problems_of(tmp_path, text)

    assert [problem.split(": ")[0:2] for problem in problems] == [
        ['config file "x.toml" line 2', "kafka.bootstrap_server"],
        ['config file "x.toml" line 4', "mqtt.port"],
        ['config file "x.toml" line 5', "mqtt.keep_alive_s"],
        ['config file "x.toml" line 7', "route[0].kind"],
        ['config file "x.toml" line 9', "route[1].filter"],
        ['config file "x.toml" line 10', "route[1].user_properties[1]"],
        ['config file "x.toml" line 10', "route[1].user_properties[2]"],
        ['config file "x.toml" line 11', "route[1].payload_bytes_max"],
    ]


def test_routes_that_are_no_tables_keep_the_lines_of_the_others(tmp_path: Path) -> None:
    text = "route = [\n  5,\n  { filter = 'a/+' },\n  'x',\n  { filter = 'b/#' },\n]"

    problems = problems_of(tmp_path, text)

    assert [problem.split(": ")[0:2] for problem in problems] == [
        ['config file "x.toml" line 2', "route[0]"],
        ['config file "x.toml" line 4', "route[2]"],
        ['config file "x.toml" line 5', "route[3].filter"],
    ]


def test_a_rule_stays_silent_about_the_default_that_replaced_a_wrong_value(tmp_path: Path) -> None:
    text = "[mqtt]\nusername = 5\npassword = { env = 'HOME' }"

    problems = problems_of(tmp_path, text, environment={"HOME": "secret"})

    assert problems == [
        'config file "x.toml" line 2: mqtt.username: Expected str, got 5; write it in quotes'
    ]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        pytest.param(
            b"[mqtt]\nport =\n",
            "line 2: is no valid TOML: Invalid value, column 7;"
            " a line is key = value, and text stands in quotes",
            id="no value",
        ),
        pytest.param(
            b"[mqtt]\nport = 1\nport = 2\n",
            "line 3: is no valid TOML: Cannot overwrite a value, column 9;"
            " a line is key = value, and text stands in quotes",
            id="key given twice",
        ),
        pytest.param(
            b"[mqtt]\nhost = 'a\xff'",
            "line 2: is not UTF-8; save the file in that encoding",
            id="not UTF-8",
        ),
    ],
)
def test_a_file_that_is_no_toml_is_refused_with_its_line(
    tmp_path: Path, content: bytes, problem: str
) -> None:
    path = tmp_path / "x.toml"
    path.write_bytes(content)

    with pytest.raises(ConfigError) as caught:
        load(path, environment={})

    assert caught.value.problems == (f'config file "{path}" {problem}',)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        pytest.param("/no/such.toml", "could not be read: No such file or directory", id="missing"),
        pytest.param("/", "could not be read: Is a directory", id="directory"),
        pytest.param("/dev/zero", "could not be read: it is no regular file", id="endless"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_with_the_reason(path: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        load(Path(path), environment={})


def test_arrays_nested_without_end_are_refused(tmp_path: Path) -> None:
    problems = problems_of(tmp_path, "a = " + "[" * 100_000)

    assert len(problems) == 1
    assert problems[0].startswith('config file "x.toml"')


TREES = st.recursive(
    st.one_of(
        st.booleans(),
        st.integers(-(10**30), 10**30),
        st.sampled_from(["nan", "-inf", "1.5", "''", "'a/+'", "'x - at `$.y`'", "1979-05-27"]),
    ).map(lambda value: value if isinstance(value, str) else str(value).lower()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda values: "[" + ", ".join(values) + "]"),
        st.dictionaries(
            st.sampled_from(
                [
                    *("file", "env", "mqtt", "port", "route", "filter", "user_properties"),
                    *("password", "properties", "linger.ms", "x - at `$.y`", "`", "tls"),
                ]
            ),
            inner,
            max_size=3,
        ).map(
            lambda table: (
                "{" + ", ".join(f"'{key}' = {value}" for key, value in table.items()) + "}"
            )
        ),
    ),
    max_leaves=12,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tree=st.dictionaries(st.sampled_from(["mqtt", "kafka", "route", "zz"]), TREES, min_size=1))
def test_no_file_of_valid_toml_ends_in_anything_but_a_configuration_or_problems(
    tmp_path: Path, tree: dict[str, str]
) -> None:
    text = "\n".join(f"{key} = {value}" for key, value in tree.items())

    problems: tuple[str, ...] = ()
    try:
        load_text(tmp_path, text)
    except ConfigError as error:
        problems = error.problems

    assert all(" line " in problem for problem in problems)
