"""Ops endpoints on a free port, and a client that sends what it is told to."""

import asyncio
import io
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from msgspec import structs

from bridge.config.sections import OpsSection
from bridge.observe.catalogue.entry import Level
from bridge.observe.fleet_facts import Sort
from bridge.observe.lines import StreamLines
from bridge.observe.log import EventLog, render_json
from bridge.runtime.http_endpoints import OpsEndpoints
from bridge.runtime.ops_guard import Guard

AGES_S = 3_600.0


class Stand:
    """Endpoints on a free port, and what they are asked for."""

    def __init__(
        self,
        *,
        listen: str = "127.0.0.1:0",
        connection_max_s: float = AGES_S,
        connections_max: int = 64,
        has_status: bool = True,
        ops: OpsSection | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.ready: tuple[bool, dict[str, Any]] = (True, {"ready": True})
        self.live: tuple[bool, dict[str, Any]] = (True, {"live": True})
        self.exposition = b"up 1\n"
        self.status: dict[str, Any] = {"version": "1"}
        self.log_stream = io.StringIO()
        log = EventLog(level=Level.INFO, lines=StreamLines(self.log_stream), renderer=render_json)
        section = structs.replace(ops or OpsSection(), listen=listen)
        self.endpoints = OpsEndpoints(
            listen=listen,
            readiness=lambda: self.ready,
            liveness=lambda: self.live,
            metrics=self.render,
            log=log,
            guard=Guard(section, environment or {}, log),
            status=(lambda: self.status) if has_status else None,
            devices=self.tell_devices if has_status else None,
            connection_max_s=connection_max_s,
            connections_max=connections_max,
        )

    def render(self) -> bytes:
        if not self.exposition:
            raise ValueError("nothing to tell")
        return self.exposition

    @staticmethod
    def tell_devices(sort: Sort, count: int) -> dict[str, Any]:
        return {"sort": str(sort), "count": count}

    def events(self) -> list[dict[str, Any]]:
        lines = self.log_stream.getvalue().splitlines()
        return [msgspec.json.decode(each) for each in lines]

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        host, _, port = self.endpoints.address.rpartition(":")
        return await asyncio.open_connection(host.strip("[]"), int(port))

    async def send(self, request: bytes) -> bytes:
        reader, writer = await self.connect()
        writer.write(request)
        answer = await read_to_end(reader)
        writer.close()
        return answer

    async def get(
        self, path: str, method: str = "GET", *, host: str = "Host: x\r\n"
    ) -> tuple[int, dict[str, str], bytes]:
        answer = await self.send(f"{method} {path} HTTP/1.1\r\n{host}\r\n".encode())
        head, _, body = answer.partition(b"\r\n\r\n")
        status, *lines = head.decode().split("\r\n")
        headers = {n.lower(): v for n, _, v in (line.partition(": ") for line in lines)}
        return int(status.split()[1]), headers, body


async def read_to_end(reader: asyncio.StreamReader) -> bytes:
    """Read until the server closes, in whichever way."""
    received = b""
    try:
        while chunk := await reader.read(65_536):
            received += chunk
    except ConnectionError:
        pass
    return received


@asynccontextmanager
async def running(stand: Stand) -> AsyncIterator[Stand]:
    await stand.endpoints.start()
    try:
        yield stand
    finally:
        await stand.endpoints.stop()
