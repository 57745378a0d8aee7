"""A headless Chromium, driven by its DevTools protocol: what a person would see, and its console.

Theory of operation. Nothing runs in the background: a call sends one command and reads until its
answer is there; the events that come before it are kept. So tests stay plain functions, and what
the console said is read when a test asks for it.
"""

import asyncio
import base64
import itertools
import json
import os
import shutil
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import aiohttp

from tests.support.eventually import eventually
from tests.support.processes import ChildProcess

MISSING: Final = "chromium is not installed (Debian: apt-get install chromium)"
_NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "chromium-headless-shell")
_ANSWER_DEADLINE_S: Final = 60.0
_START_DEADLINE_S: Final = 60.0
_FLAGS: Final = (
    "--headless=new",
    "--remote-debugging-port=0",  # It takes a free one and writes it into a file.
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-gpu",
    "--disable-sync",
    "--hide-scrollbars",
    "--lang=en-US",
)


@cache
def find_chromium() -> Path | None:
    """Find it on PATH."""
    found = next((each for each in map(shutil.which, _NAMES) if each), None)
    return None if found is None else Path(found)


class PageError(AssertionError):
    """The browser, or a script in the page, refused."""


class Chromium(ChildProcess):
    """One browser process with a profile of its own."""

    def __init__(self, program: Path, directory: Path) -> None:
        super().__init__("chromium", directory / "chromium.log")
        self._program = program
        self._profile = directory / "profile"

    def start(self) -> None:
        """Start it and wait until it takes commands."""
        self._profile.mkdir(parents=True, exist_ok=True)
        # Its own sandbox wants rights that root in a container does not have.
        flags = [*_FLAGS, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
        self.spawn(
            [self._program, *flags, f"--user-data-dir={self._profile}", "about:blank"],
            env={**os.environ, "HOME": str(self._profile)},
        )
        eventually(
            lambda: self._port_file.exists() and self._port_file.read_text().count("\n") > 0,
            lambda is_there: is_there or not self.is_alive,
            what="chromium takes commands",
            deadline_s=_START_DEADLINE_S,
        )
        self.assert_alive()

    def open_page(self) -> "BrowserPage":
        """Open a page; close it at the end."""
        port, _, path = self._port_file.read_text(encoding="utf-8").partition("\n")
        return BrowserPage(f"ws://127.0.0.1:{port}{path.strip()}")

    @property
    def _port_file(self) -> Path:
        return self._profile / "DevToolsActivePort"


class BrowserPage:
    """One tab: what it shows, what it asked for, what its console said."""

    def __init__(self, address: str) -> None:
        self.requests: list[str] = []
        """URLs, in order, whatever became of them."""
        self.complaints: list[str] = []
        """Errors and warnings of the console, uncaught exceptions, what a policy blocked."""
        self.status_of: dict[str, int] = {}
        """HTTP status by URL, the last one."""
        self._runner = asyncio.Runner()
        self._numbers = itertools.count(1)
        self._session_id = ""
        self._runner.run(self._connect(address))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let the tab go."""
        self._runner.run(self._disconnect())
        self._runner.close()

    def command(self, method: str, **parameters: Any) -> Any:
        """Send one command of the protocol and return its result."""
        return self._runner.run(self._command(method, parameters))

    def resize(self, width: int, height: int, *, is_phone: bool = False, scale: float = 1) -> None:
        """Give it a screen."""
        self.command(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=is_phone,
        )

    def prefer(self, scheme: str) -> None:
        """Prefer `light` or `dark`."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.command("Emulation.setEmulatedMedia", features=features)

    def open(self, url: str) -> None:
        """Go there; what the page then asks for by itself may still be on its way."""
        answer = self.command("Page.navigate", url=url)
        if answer.get("errorText"):
            raise PageError(f"{url}: {answer['errorText']}")
        self.evaluate(
            "document.readyState === 'complete' || new Promise(r => { onload = () => r(true); })"
        )

    def evaluate(self, expression: str) -> Any:
        """Return the value of an expression, a promise's once it is there."""
        answer = self.command(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in answer:
            raise PageError(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def text(self, selector: str) -> str:
        """Return the text that a person sees there."""
        found = self.evaluate(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''")
        return str(found)

    def await_text(self, selector: str, wanted: str, *, deadline_s: float = 60.0) -> str:
        """Wait until the text there contains this."""
        return eventually(
            lambda: self.text(selector),
            lambda text: wanted in text,
            what=f"{selector} says {wanted!r}",
            deadline_s=deadline_s,
            poll_s=0.1,
        )

    def screenshot(self, path: Path) -> None:
        """Write the whole page as PNG."""
        answer = self.command("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(answer["data"]))

    # ------------------------------------------------------------------ the protocol

    async def _connect(self, address: str) -> None:
        self._client = aiohttp.ClientSession()
        self._socket = await self._client.ws_connect(address, max_msg_size=0)
        target = await self._command("Target.createTarget", {"url": "about:blank"})
        self._target_id = target["targetId"]
        attached = await self._command(
            "Target.attachToTarget", {"targetId": self._target_id, "flatten": True}
        )
        self._session_id = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            await self._command(f"{domain}.enable", {})

    async def _disconnect(self) -> None:
        self._session_id = ""
        await self._command("Target.closeTarget", {"targetId": self._target_id})
        await self._socket.close()
        await self._client.close()

    async def _command(self, method: str, parameters: dict[str, Any]) -> Any:
        number = next(self._numbers)
        command = {"id": number, "method": method, "params": parameters}
        if self._session_id:
            command["sessionId"] = self._session_id
        await self._socket.send_json(command)
        async with asyncio.timeout(_ANSWER_DEADLINE_S):
            while True:
                message = await self._socket.receive_json()
                if message.get("id") == number:
                    break
                if "method" in message:
                    self._note(message["method"], message["params"])
        if "error" in message:
            raise PageError(f"{method}: {message['error']}")
        return message["result"]

    def _note(self, method: str, event: dict[str, Any]) -> None:
        match method:
            case "Network.requestWillBeSent":
                self.requests.append(event["request"]["url"])
            case "Network.responseReceived":
                self.status_of[event["response"]["url"]] = event["response"]["status"]
            case "Runtime.consoleAPICalled" if event["type"] in {"error", "warning", "assert"}:
                self.complaints.append(f"{event['type']}: {event['args']}")
            case "Runtime.exceptionThrown":
                self.complaints.append(str(event["exceptionDetails"]))
            case "Log.entryAdded" if event["entry"]["level"] in {"error", "warning"}:
                entry = event["entry"]
                self.complaints.append(f"{entry['source']}: {entry['text']} {entry.get('url', '')}")
