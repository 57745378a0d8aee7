import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest

SIX_MISTAKES = """\
[mqtt]
prot = 1883
client_id = ""
password = "hunter2"

[kafka]
bootstrap_servers = "kafka"
[kafka.properties]
"acks" = "1"

[[route]]
filter = "devices/#"
"""


def run_bridge(
    *arguments: str, environment: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "bridge", *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={**os.environ, **(environment or {})},
    )


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    path = tmp_path / "bridge.toml"
    path.write_text("[mqtt]\nport = 8883\n", encoding="utf-8")
    return path


def test_six_mistakes_are_six_lines_with_line_number_and_remedy(tmp_path: Path) -> None:
    path = tmp_path / "bridge.toml"
    path.write_text(SIX_MISTAKES, encoding="utf-8")

    done = run_bridge("check", "--config", str(path))

    lines = [line.removeprefix(f'config file "{path}" ') for line in done.stderr.splitlines()]
    assert done.returncode == 78
    assert done.stdout == ""
    assert "hunter2" not in done.stderr
    assert lines == [
        'line 2: mqtt.prot: unknown key; meant "port"?',
        (
            'line 3: mqtt.client_id: Expected str of length >= 1, got "": the session, and every'
            " message that waits in it, hangs on a client id that stays"
            " the same; write a fixed name"
            ' such as "mqtt-kafka-bridge"'
        ),
        (
            "line 4: mqtt.password: a secret is never inline;"
            ' write password = { file = "..." }, or env or credential'
        ),
        (
            'line 7: kafka.bootstrap_servers: "kafka" has no host and port; write "host:port", or'
            ' "[::1]:port" for IPv6, with a comma between two of them'
        ),
        (
            "line 9: kafka.properties.acks: is refused: the promise"
            " rests on acks=all, which is always"
            " set; remove it"
        ),
        (
            'line 12: route[0].filter: "devices/#" has a #, which leaves'
            " open where the device id is;"
            ' write "devices/+/telemetry"'
        ),
    ]


def test_a_good_file_is_ok_and_its_warnings_are_told(config_file: Path) -> None:
    done = run_bridge("check", "--config", str(config_file))

    assert done.returncode == 0
    assert done.stdout.startswith(f'ok: config file "{config_file}"\n')
    assert done.stderr == (
        f'warning: config file "{config_file}" line 2: mqtt.port: 8883 is the port of MQTT over'
        " TLS, but there is no mqtt.tls; write mqtt.tls = {}\n"
    )


def test_environment_and_arguments_override_the_file(config_file: Path) -> None:
    done = run_bridge(
        "check",
        *("--config", str(config_file), "--set", "mqtt.port=1885"),
        environment={"BRIDGE__MQTT__HOST": "broker", "BRIDGE__MQTT__PORT": "1884"},
    )

    assert done.stderr == ""
    assert "MQTT broker broker port 1885, no TLS" in done.stdout


def test_an_event_loop_that_run_would_refuse_is_refused(config_file: Path) -> None:
    done = run_bridge(
        *("check", "--config", str(config_file)), environment={"BRIDGE_EVENT_LOOP": "trio"}
    )

    assert done.returncode == 78
    assert done.stderr == (
        'environment variable BRIDGE_EVENT_LOOP: Expected "asyncio" or "uvloop", got "trio"\n'
    )


def test_config_show_is_the_effective_configuration_with_origins(config_file: Path) -> None:
    done = run_bridge(
        "config",
        "show",
        *("--config", str(config_file), "--set", "mqtt.username=u"),
        *("--set", "mqtt.password={ file = '/not/there' }", "--set", "mqtt.tls={}"),
        *("--set", 'kafka.properties."sasl.oauthbearer.config"=hunter2'),
    )

    shown = tomllib.loads(done.stdout)
    lines = {line.partition(" = ")[0]: line for line in done.stdout.splitlines()}
    assert done.returncode == 0
    assert shown["mqtt"]["port"] == 8883
    assert shown["mqtt"]["password"] == {"file": "/not/there"}
    assert shown["route"][0]["filter"] == "devices/+/telemetry"
    assert lines["port"].endswith(f' # config file "{config_file}" line 2')
    assert lines["client_id"].endswith(" # default")
    assert lines["username"].endswith(" # argument --set mqtt.username")
    assert "hunter2" not in done.stdout


def test_config_schema_is_json_with_descriptions() -> None:
    done = run_bridge("config", "schema")

    schema = json.loads(done.stdout)
    port = schema["$defs"]["MqttSection"]["properties"]["port"]
    assert done.returncode == 0
    assert port["maximum"] == 65535
    assert port["description"] == "TCP port of the MQTT broker; 8883 is usual with TLS."


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param([], "the following arguments are required: COMMAND", id="no command"),
        pytest.param(["chekc"], "invalid choice: 'chekc'", id="no such command"),
        pytest.param(["check"], "the following arguments are required: --config", id="no file"),
        pytest.param(["check", "--config", "x", "--fast"], "--fast", id="no such option"),
        pytest.param(["config"], "the following arguments are required: COMMAND", id="no half"),
    ],
)
def test_a_wrong_command_line_exits_64(arguments: list[str], message: str) -> None:
    done = run_bridge(*arguments)

    assert done.returncode == 64
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("argument", ["--help", "--version"])
def test_help_and_version_need_nothing(argument: str) -> None:
    done = run_bridge(argument)

    assert done.returncode == 0
    assert done.stdout.split()[0] in {"usage:", "mqtt-kafka-bridge"}


def test_help_imports_no_command() -> None:
    script = (
        "import sys, bridge.__main__ as m\n"
        "try: m.main(['--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted(n for n in sys.modules if n.startswith(('bridge.', 'msgspec', 'confluent'))))"
    )

    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True
    )

    assert done.stdout.splitlines()[-1] == "['bridge.__main__', 'bridge.errors']"


def test_a_missing_file_is_one_readable_line() -> None:
    done = run_bridge("check", "--config", "/no/such.toml")

    assert done.returncode == 78
    assert done.stderr == (
        'config file "/no/such.toml" could not be read: No such file or directory;'
        " --config names the file\n"
    )


def test_a_reader_that_has_enough_is_no_error(config_file: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)

    done = subprocess.run(
        [sys.executable, "-m", "bridge", "config", "show", "--config", str(config_file)],
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        timeout=30,
        check=False,
    )
    os.close(writing)

    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_our_own_bug_exits_70_with_a_traceback() -> None:
    script = (
        "import sys, types, bridge.__main__ as m\n"
        "broken = types.ModuleType('bridge.cli.check')\n"
        "fail = lambda arguments: 1 // 0\n"
        "broken.add_parser = lambda s: s.add_parser('check').set_defaults(execute=fail)\n"
        "sys.modules['bridge.cli.check'] = broken\n"
        "sys.exit(m.main(['check']))"
    )

    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False
    )

    assert done.returncode == 70
    assert "ZeroDivisionError" in done.stderr
    assert done.stderr.endswith("this is a bug, please report it\n")
