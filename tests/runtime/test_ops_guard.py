"""Who may read the status and its page, asked for over real sockets."""

import base64
from pathlib import Path

import pytest

from bridge.config.sections import OpsSection, Secret
from bridge.errors import ConfigError
from tests.runtime.ops_stand import Stand, running

TOKEN = "hünter2: with a colon"
ENVIRONMENT = {"TOKEN": TOKEN}
GUARDED = OpsSection(token=Secret(env="TOKEN"))
PATHS = ["/", "/status", "/status/devices"]
OPEN_PATHS = ["/health/live", "/health/ready", "/metrics"]


def guarded(listen: str = "0.0.0.0:0") -> Stand:
    return Stand(listen=listen, ops=GUARDED, environment=ENVIRONMENT)


def basic(pair: str) -> str:
    return f"Basic {base64.b64encode(pair.encode()).decode()}"


def head(authorization: str = "", host: str = "localhost") -> str:
    lines = f"Host: {host}\r\n"
    return f"{lines}Authorization: {authorization}\r\n" if authorization else lines


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "authorization",
    [
        pytest.param(f"Bearer {TOKEN}", id="bearer"),
        pytest.param(f"bEARER   {TOKEN}", id="bearer, in any case"),
        pytest.param(basic(f"anybody:{TOKEN}"), id="basic"),
        pytest.param(basic(f":{TOKEN}"), id="basic without a user"),
    ],
)
async def test_off_loopback_everything_is_told_to_who_has_the_token(
    path: str, authorization: str
) -> None:
    async with running(guarded()) as stand:
        status, _, _ = await stand.get(path, host=head(authorization))

    assert 200 == status
    assert [] == stand.events()


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "127.0.0.1:0"])
@pytest.mark.parametrize("path", PATHS)
async def test_without_the_token_nothing_is_told_and_a_browser_is_told_to_ask_for_it(
    listen: str, path: str
) -> None:
    async with running(guarded(listen)) as stand:
        answer = await stand.send(f"GET {path} HTTP/1.1\r\n{head()}\r\n".encode())

    assert answer.startswith(b"HTTP/1.1 401 ")
    assert b'WWW-Authenticate: Basic realm="mqtt-kafka-bridge", charset="UTF-8"\r\n' in answer
    assert b"WWW-Authenticate: Bearer\r\n" in answer
    assert [] == stand.events(), "a browser asks first without: no event"


@pytest.mark.parametrize("path", OPEN_PATHS)
async def test_probes_and_prometheus_need_no_token_and_no_name(path: str) -> None:
    async with running(guarded()) as stand:
        status, _, _ = await stand.get(path, host=head(host="evil.example"))

    assert 200 == status


@pytest.mark.parametrize(
    "authorization",
    [
        pytest.param("Bearer", id="no token"),
        pytest.param("Bearer hunter", id="shorter"),
        pytest.param(f"Bearer {TOKEN}x", id="longer"),
        pytest.param(f"Bearer {TOKEN.upper()}", id="another case"),
        pytest.param(TOKEN, id="no scheme"),
        pytest.param(f"Digest {TOKEN}", id="another scheme"),
        pytest.param(f"Basic {TOKEN}", id="no base64"),
        pytest.param(basic(TOKEN.partition(":")[0]), id="no colon"),
        pytest.param(basic(f"{TOKEN}:anybody"), id="the token as user"),
        pytest.param(f"Bearer {TOKEN}\r\nAuthorization: Bearer {TOKEN}", id="twice"),
    ],
)
async def test_what_is_not_the_token_is_refused_and_told_without_it(authorization: str) -> None:
    async with running(guarded()) as stand:
        status, _, body = await stand.get("/status", host=head(authorization))

    assert status in {400, 401}
    assert b"version" not in body
    assert TOKEN not in stand.log_stream.getvalue()
    if status == 401:
        (event,) = stand.events()
        assert ("ops_token_refused", "/status", "127.0.0.1") == (
            event["event"],
            event["path"],
            event["peer"],
        )


async def test_a_token_that_was_renewed_counts_at_once_and_one_that_is_gone_lets_nobody_in(
    tmp_path: Path,
) -> None:
    file = tmp_path / "token"
    file.write_text("old\n")
    ops = OpsSection(token=Secret(file=str(file)))
    async with running(Stand(listen="0.0.0.0:0", ops=ops)) as stand:
        file.write_text("new\n")
        old, _, _ = await stand.get("/status", host=head("Bearer old"))
        new, _, _ = await stand.get("/status", host=head("Bearer new"))
        file.unlink()
        gone, _, body = await stand.get("/status", host=head("Bearer new"))

    assert (401, 200, 503) == (old, new, gone)
    assert b"ops.token cannot be read; see the log\n" == body
    told = [(each["event"], each.get("error", "")) for each in stand.events()]
    problem = f'secret file "{file}" could not be read: No such file or directory'
    problem += "; put it there, where the user of the bridge may read it"
    assert [("ops_token_refused", ""), ("ops_token_unreadable", problem)] == told


def test_a_token_that_cannot_be_read_at_the_start_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError, match='environment variable "TOKEN" is not set'):
        Stand(ops=GUARDED)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("192.0.2.7:9464", 200),
        ("[2001:db8::7]", 200),
        ("bridge.example", 200),
        ("BRIDGE.example:80", 200),
        ("evil.example", 421),
        ("bridge.example.evil.example", 421),
        ("192.0.2.7.evil.example", 421),
    ],
)
async def test_off_loopback_addresses_and_the_names_of_the_configuration_are_ours(
    host: str, status: int
) -> None:
    ops = OpsSection(token=Secret(env="TOKEN"), hosts=("Bridge.example",))
    stand = Stand(listen="0.0.0.0:0", ops=ops, environment=ENVIRONMENT)
    async with running(stand):
        given, _, _ = await stand.get("/status", host=head(f"Bearer {TOKEN}", host))

    assert status == given


@pytest.mark.parametrize(
    ("host", "status"), [("bridge.example", 200), ("192.0.2.7", 421), ("evil.example", 421)]
)
async def test_on_loopback_a_name_of_a_proxy_can_be_added_and_no_other_is_ours(
    host: str, status: int
) -> None:
    async with running(Stand(ops=OpsSection(hosts=("bridge.example",)))) as stand:
        given, _, _ = await stand.get("/status", host=head(host=host))

    assert status == given


@pytest.mark.parametrize(
    ("target", "host", "status"),
    [
        ("http://localhost/status", "localhost", 200),
        ("http://127.0.0.1:9464/status", "LOCALHOST", 200),
        ("http://evil.example/status", "localhost", 421),
        ("http://localhost/status", "evil.example", 421),
        ("http://localhost@evil.example/status", "localhost", 421),
        ("http://[::1/status", "localhost", 421),
        ("http://evil.example/metrics", "evil.example", 200),
    ],
)
async def test_a_name_in_the_request_target_has_to_be_ours_as_that_in_the_host(
    target: str, host: str, status: int
) -> None:
    async with running(Stand()) as stand:
        given, _, _ = await stand.get(target, host=head(host=host))

    assert status == given


@pytest.mark.parametrize("path", [*PATHS, *OPEN_PATHS, "/nowhere"])
async def test_no_answer_may_be_read_by_another_origin_kept_or_taken_for_another_kind(
    path: str,
) -> None:
    asked = f"{head()}Origin: http://evil.example\r\n"
    async with running(Stand()) as stand:
        _, headers, _ = await stand.get(path, host=asked)

    assert ("nosniff", "no-store", "same-origin", "no-referrer") == (
        headers["x-content-type-options"],
        headers["cache-control"],
        headers["cross-origin-resource-policy"],
        headers["referrer-policy"],
    )
    assert [] == [each for each in headers if each.startswith("access-control")]


async def test_the_page_comes_whole_with_a_policy_that_lets_it_load_nothing() -> None:
    async with running(Stand()) as stand:
        status, headers, body = await stand.get("/", host=head())
        refused, allow, _ = await stand.get("/", "POST", host=head())

    assert (200, "text/html; charset=utf-8") == (status, headers["content-type"])
    assert b"</html>" in body
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "connect-src 'self'" in policy
    assert "unsafe" not in policy
    assert (405, "GET, HEAD") == (refused, allow["allow"])
