"""`top` from its command line, against an HTTP server that answers as this test says."""

import json
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from bridge.__main__ import main
from tests.support.processes import free_port
from tests.support.programs import Done, run_program
from tests.support.terminal import Terminal

TOKEN = "s3cret-token"
TOP = [sys.executable, "-m", "bridge", "top"]
STATUS = {"version": "9", "ready": True, "checks": {"mqtt": {"ok": True, "state": "subscribed"}}}


@pytest.fixture
async def guarded() -> AsyncIterator[str]:
    """Something that answers as a bridge does, to who has the token."""

    async def answer(request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return web.Response(status=401, text="unauthorized")
        if request.path == "/metrics":
            return web.Response(text="# nothing yet\n")
        if request.path == "/status/devices":
            return web.json_response({"devices": [{"device_id": request.query["sort"]}]})
        return web.json_response(STATUS)

    server = await _serve(answer)
    yield str(server.make_url(""))
    await server.close()


async def _serve(answer: Callable[[web.Request], object]) -> TestServer:
    app = web.Application()
    app.router.add_get("/{path:.*}", answer)  # type: ignore[arg-type]
    server = TestServer(app)
    await server.start_server()
    return server


async def top(*arguments: str, **environment: str) -> Done:
    return await run_program([*TOP, *arguments], **environment)


async def test_without_a_token_a_bridge_that_wants_one_is_refused_with_the_option(
    guarded: str,
) -> None:
    done = await top("--url", guarded)

    assert (69, "") == (done.code, done.output)
    assert "401" in done.errors
    assert "--token-file FILE" in done.errors
    assert "BRIDGE_TOKEN" in done.errors


@pytest.mark.parametrize("where", ["file", "environment"])
async def test_a_token_opens_the_door(guarded: str, tmp_path: Path, where: str) -> None:
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n")
    given = ["--token-file", str(file)] if where == "file" else []
    environment = {} if where == "file" else {"BRIDGE_TOKEN": TOKEN}

    done = await top("--once", "--sort", "drift", "--url", guarded + "/", *given, **environment)

    assert (0, "") == (done.code, done.errors)
    line = json.loads(done.output)
    assert ("answers", "9", "drift") == (
        line["state"],
        line["status"]["version"],
        line["devices"][0]["device_id"],
    )


async def test_no_secret_is_in_what_is_said(guarded: str, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("another-secret")

    done = await top("--url", guarded, "--token-file", str(file))

    assert 69 == done.code
    assert "another-secret" not in done.errors + done.output


async def test_a_token_that_no_header_holds_is_refused_before_it_is_sent(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("two\nlines")

    done = await top("--token-file", str(file))

    assert 78 == done.code
    assert "no HTTP header holds" in done.errors
    assert "two" not in done.errors


async def test_a_redirect_is_not_followed_since_it_could_carry_the_token_away() -> None:
    asked: list[str] = []

    async def lure(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(status=302, headers={"Location": "/elsewhere"})

    server = await _serve(lure)
    done = await top("--url", str(server.make_url("")), "--once", BRIDGE_TOKEN=TOKEN)
    await server.close()

    assert 69 == done.code
    assert ["/status"] == asked
    assert "302 for /status" in done.errors


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"<html>\x1b[2J", id="a web page"),
        pytest.param(b"[1]", id="another tree"),
        pytest.param(b"{}", id="an empty tree"),
        pytest.param(b"\xff", id="no text"),
        pytest.param(b" " * (5 * 1024 * 1024), id="too much"),
    ],
)
async def test_what_is_no_bridge_is_called_so(body: bytes) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=body)

    server = await _serve(answer)
    done = await top("--url", str(server.make_url("")), "--once")
    await server.close()

    assert 69 == done.code
    assert "this is no bridge" in done.errors
    assert "\x1b" not in done.errors


async def test_once_tells_that_nobody_is_there() -> None:
    url = f"http://127.0.0.1:{free_port()}"

    done = await top("--url", url, "--once")

    assert (69, "") == (done.code, done.output)
    assert f"the bridge at {url} is away: connection refused" in done.errors


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--url", ""], "argument --url: is empty; is a variable not set?"),
        (["--url", "ftp://host"], 'write "http://127.0.0.1:9464"'),
        (["--url", "http://u:hush@host"], "--token-file"),
        (["--url", "http://host:99999"], "is no URL"),
        (["--url", "http://host/?a=b"], "goes on after the address"),
        (["--every", "0"], "is not between 0.1 and 3600 seconds"),
    ],
)
def test_a_wrong_command_line_says_what_to_write(
    capsys: pytest.CaptureFixture[str], arguments: list[str], text: str
) -> None:
    try:
        code = main(["top", *arguments])
    except SystemExit as ended:
        code = int(ended.code or 0)

    errors = capsys.readouterr().err
    assert 64 == code
    assert text in errors
    assert "hush" not in errors


def test_a_port_that_only_the_bridge_knows_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "bridge.toml"
    file.write_text('[ops]\nlisten = "127.0.0.1:0"\n')

    code = main(["top", "--config", str(file)])

    assert 64 == code
    assert "ops_listening" in capsys.readouterr().err


def test_a_terminal_is_told_of_a_bridge_that_is_away_from_the_start() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with Terminal([*TOP, "--url", url, "--every", "0.1"], columns=60) as terminal:
        frame = terminal.wait_for("the bridge is away since")
        code = terminal.interrupt()

    assert "connection refused" in frame
    assert 0 == code
