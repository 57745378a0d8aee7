from pathlib import Path

import pytest

from bridge.config import secrets
from bridge.config.sections import Secret
from bridge.errors import ConfigError
from tests.config.support import problems_of, warnings_of


def test_a_secret_comes_from_its_file_without_one_newline(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("hunter2\n\n")

    secret = secrets.read(Secret(file=str(tmp_path / "s")), {})

    assert secret == "hunter2\n"


def test_a_secret_comes_from_the_environment() -> None:
    secret = secrets.read(Secret(env="S"), {"S": "hunter2"})

    assert secret == "hunter2"


def test_a_secret_that_is_no_text_is_refused_and_not_shown() -> None:
    with pytest.raises(ConfigError) as caught:
        secrets.read(Secret(env="S"), {"S": "hunter\udcff"})

    assert ('environment variable "S" is not UTF-8 text',) == caught.value.problems


def test_a_secret_comes_from_the_credentials_of_the_service_manager(tmp_path: Path) -> None:
    (tmp_path / "kafka").write_text("hunter2")

    secret = secrets.read(Secret(credential="kafka"), {"CREDENTIALS_DIRECTORY": str(tmp_path)})

    assert secret == "hunter2"


@pytest.mark.parametrize(
    ("secret", "problem"),
    [
        pytest.param(
            Secret(file="/no/such"),
            'secret file "/no/such" could not be read: No such file or directory'
            "; put it there, where the user of the bridge may read it",
            id="no file",
        ),
        pytest.param(
            Secret(file="/dev/zero"),
            'secret file "/dev/zero" could not be read: it is no regular file'
            "; put it there, where the user of the bridge may read it",
            id="endless",
        ),
        pytest.param(
            Secret(env="S"),
            'environment variable "S" is not set; export the secret',
            id="no variable",
        ),
        pytest.param(
            Secret(credential="s"),
            'systemd credential "s" cannot be read: $CREDENTIALS_DIRECTORY is not set;'
            " add LoadCredential=s:/path to the unit, or name a file",
            id="no credentials",
        ),
        pytest.param(
            Secret(credential="../s"),
            'systemd credential "../s" is no name; write it without directories',
            id="credential with a path",
        ),
        pytest.param(
            Secret(), "a secret names exactly one of file, env or credential", id="no source"
        ),
    ],
)
def test_a_missing_secret_says_where_it_was_looked_for(secret: Secret, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        secrets.read(secret, {})

    assert caught.value.problems == (problem,)


@pytest.mark.parametrize("content", [b"hunter2\xff", b"hunter2\0"], ids=["not UTF-8", "NUL"])
def test_a_secret_that_cannot_be_one_is_refused_without_its_value(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "s").write_bytes(content)

    with pytest.raises(ConfigError) as caught:
        secrets.read(Secret(file=str(tmp_path / "s")), {})

    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_s08_a_secret_file_that_others_may_read_is_a_warning(tmp_path: Path) -> None:
    secret = tmp_path / "s"
    secret.write_text("hunter2")
    secret.chmod(0o644)

    warnings = warnings_of(tmp_path, f"[mqtt]\nusername = 'u'\npassword.file = '{secret}'")

    assert warnings == [
        (
            'config file "x.toml" line 3: mqtt.password: file "s" has mode 0644, so others than its'
            " owner may read or write it; chmod 600"
        )
    ]


def test_s08_a_missing_secret_is_a_problem_of_its_line(tmp_path: Path) -> None:
    text = "[kafka]\nusername = 'u'\npassword = { credential = 'kafka' }"

    problems = problems_of(tmp_path, text)

    assert problems == [
        (
            'config file "x.toml" line 3: kafka.password: systemd'
            ' credential "kafka" cannot be read:'
            " $CREDENTIALS_DIRECTORY is not set; add LoadCredential=kafka:/path to the unit,"
            " or name a file"
        )
    ]


def test_the_token_of_the_ops_port_is_looked_for_and_never_inline(tmp_path: Path) -> None:
    (missing,) = problems_of(tmp_path, "[ops]\ntoken = { env = 'TOKEN' }")
    (inline,) = problems_of(tmp_path, "[ops]\ntoken = 'hunter2'")

    assert missing.endswith('ops.token: environment variable "TOKEN" is not set; export the secret')
    assert "a secret is never inline" in inline
    assert "hunter2" not in inline


def test_tls_files_are_there_and_hold_pem(tmp_path: Path) -> None:
    (tmp_path / "cert.der").write_bytes(b"\x30\x82")

    problems = problems_of(
        tmp_path,
        f"""\
[mqtt.tls]
ca_file = "/no/ca.pem"
cert_file = "{tmp_path}/cert.der"
[kafka.properties]
"ssl.key.location" = "/no/key.pem"
""",
    )

    assert problems == [
        (
            'config file "x.toml" line 2: mqtt.tls.ca_file: file "/no/ca.pem" could not be read:'
            " No such file or directory; put it there, where the user of the bridge may read it"
        ),
        (
            'config file "x.toml" line 3: mqtt.tls.cert_file: there is'
            " no mqtt.tls.key_file to go with"
            " it; a certificate and its private key come together: write"
            " key_file, or remove cert_file"
        ),
        (
            'config file "x.toml" line 3: mqtt.tls.cert_file: file "cert.der" has no PEM block;'
            " convert it with openssl"
        ),
        (
            'config file "x.toml" line 5: kafka.properties."ssl.key.location": file "/no/key.pem"'
            " could not be read: No such file or directory"
            "; put it there, where the user of the bridge may read it"
        ),
    ]


def test_a_private_key_that_others_may_read_is_a_warning(tmp_path: Path) -> None:
    for name in ("cert", "key"):
        (tmp_path / name).write_text("-----BEGIN X-----")
        (tmp_path / name).chmod(0o640)

    warnings = warnings_of(
        tmp_path, f"[mqtt.tls]\ncert_file = '{tmp_path}/cert'\nkey_file = '{tmp_path}/key'"
    )

    assert warnings == [
        (
            'config file "x.toml" line 3: mqtt.tls.key_file: file "key"'
            " has mode 0640, so others than"
            " its owner may read or write it; chmod 600"
        )
    ]


def test_an_unreadable_file_is_a_problem(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Is a directory"):
        secrets.read(Secret(file=str(tmp_path)), {})


@pytest.mark.parametrize(
    ("content", "problem"),
    [("", "is empty; write the secret into it"), ("x" * 70_000, "is longer than 65535 bytes")],
    ids=["empty", "long"],
)
def test_a_file_that_can_be_no_secret_is_refused(
    tmp_path: Path, content: str, problem: str
) -> None:
    path = tmp_path / "secret"
    path.write_text(content)

    with pytest.raises(ConfigError, match=problem):
        secrets.read(Secret(file=str(path)), {})


def test_the_name_of_a_credential_is_escaped_in_the_remedy_too() -> None:
    with pytest.raises(ConfigError) as caught:
        secrets.read(Secret(credential="pw\x1b[31m"), {})

    assert all("\x1b" not in problem for problem in caught.value.problems)
    assert "LoadCredential=pw\\x1b[31m:" in caught.value.problems[0]
