"""The stage of the demo: Mosquitto, Kafka and the bridge, up in order and gone afterwards."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import msgspec

from bridge.cli.showcase.bridge_process import BridgeProcess
from bridge.cli.showcase.kafka_in_process import KafkaInProcess, TopicReader
from bridge.cli.showcase.mosquitto import Mosquitto


class Stage(msgspec.Struct, frozen=True):
    """What stands while the stage is open."""

    mosquitto: Mosquitto
    bridge: BridgeProcess
    reader: TopicReader

    @property
    def place(self) -> str:
        """Say what is connected to what."""
        version = self.mosquitto.version
        return f"Mosquitto {version} :{self.mosquitto.port} → bridge → Kafka in process"


@contextlib.asynccontextmanager
async def open_stage(program: str, directory: Path) -> AsyncIterator[Stage]:
    """Start everything; whatever happens then, no child process is left.

    A good end stops the children itself, in order. What still runs here is killed.

    Raises:
        UnavailableError: Mosquitto does not come up.
    """
    async with contextlib.AsyncExitStack() as stack:
        cluster = await asyncio.to_thread(KafkaInProcess)
        reader = TopicReader(cluster)
        stack.callback(reader.close)
        mosquitto = await Mosquitto.start(program, directory)
        stack.push_async_callback(mosquitto.child.kill)
        session = await stack.enter_async_context(aiohttp.ClientSession())
        bridge = await BridgeProcess.start(
            directory,
            session,
            mqtt_port=mosquitto.port,
            bootstrap_servers=cluster.bootstrap_servers,
        )
        stack.push_async_callback(bridge.child.kill)
        yield Stage(mosquitto, bridge, reader)
