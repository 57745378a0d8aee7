"""What breaks the promise is refused at the start, with the reason; what is unwise is said."""

from pathlib import Path
from typing import Any

import pytest

from tests.integration.scene import Scene
from tests.support.bridge_process import BridgeProcess

CONFIGURATION = 78
REFUSED: list[tuple[str, dict[str, Any], tuple[str, ...]]] = [
    ("an empty client id", {"client_id": ""}, ("client_id",)),
    ("a session that ends with the connection", {"session_expiry_s": 0}, ("session_expiry_s", "0")),
    (
        "a credential without systemd",
        {"username": "bridge", "password": {"credential": "mqtt"}},
        ("mqtt.password", "CREDENTIALS_DIRECTORY", "LoadCredential=mqtt"),
    ),
    (
        "a secret file that is not there",
        {"username": "bridge", "password": {"file": "/nowhere/secret"}},
        ("mqtt.password", "/nowhere/secret"),
    ),
]


@pytest.mark.parametrize(
    ("mqtt", "told"), [(mqtt, told) for _, mqtt, told in REFUSED], ids=[each[0] for each in REFUSED]
)
def test_a_configuration_that_breaks_the_promise_is_refused_with_the_reason(
    mqtt: dict[str, Any], told: tuple[str, ...], tmp_path: Path
) -> None:
    bridge = BridgeProcess(tmp_path, {"mqtt": mqtt})

    bridge.start()
    exit_code = bridge.wait()

    said = bridge.output()
    assert CONFIGURATION == exit_code, said
    assert [] == [word for word in told if word not in said], said
    assert "Traceback" not in said


def test_a_credential_that_systemd_did_not_load_is_refused(tmp_path: Path) -> None:
    config = {"mqtt": {"username": "bridge", "password": {"credential": "mqtt"}}}
    bridge = BridgeProcess(tmp_path, config, env={"CREDENTIALS_DIRECTORY": str(tmp_path)})

    bridge.start()
    exit_code = bridge.wait()

    said = bridge.output()
    assert CONFIGURATION == exit_code, said
    assert '"mqtt"' in said


@pytest.mark.parametrize(("mode", "warnings"), [(0o644, 1), (0o600, 0)])
def test_a_secret_file_that_others_may_read_is_warned_of(
    scene: Scene, tmp_path: Path, mode: int, warnings: int
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("correct horse\n", encoding="utf-8")
    secret.chmod(mode)
    scene.create_topics(1)

    bridge = scene.start(mqtt={"username": "bridge", "password": {"file": str(secret)}})

    said = [event["warning"] for event in bridge.events("configuration_warned")]
    assert warnings == len(said), said
    assert [] == [each for each in said if str(secret) not in each or "chmod 600" not in each]
    assert "correct horse" not in bridge.output()
