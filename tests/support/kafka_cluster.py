"""A real Kafka under the test's hand: one node or three, KRaft, on loopback."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from tests.support import kafka_artefacts
from tests.support.eventually import eventually
from tests.support.kafka_client import KafkaClient
from tests.support.processes import ChildProcess, free_port

_CLUSTER_ID: Final = "bXF0dC1rYWZrYS1icmlkZw"
_READY_DEADLINE_S: Final = 90.0

JVM_QUICK: Final = (
    "-Xmx512m",
    "-Xms128m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:-UsePerfData",
    "-Xshare:auto",
)
"""Tuned for two shared cores: C1 only and the serial collector halve the time to be ready."""

JVM_AS_SHIPPED: Final = (
    "-server",
    "-Xmx1G",
    "-Xms1G",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent",
    "-Djava.awt.headless=true",
)
"""Heap and collector of Kafka's own kafka-server-start.sh and kafka-run-class.sh: for what is
measured. The quick one stops all for 15 to 25 ms twice a second at 2,000 records a second."""

# Lets a test take rights away and give them back; everybody may do what no ACL speaks of.
AUTHORIZER: Final = {
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "allow.everyone.if.no.acl.found": "true",
}

_LOG4J: Final = """\
<Configuration status="ERROR">
  <Appenders>
    <Console name="out"><PatternLayout pattern="%d %p %c{1} %m%n"/></Console>
  </Appenders>
  <Loggers><Root level="WARN"><AppenderRef ref="out"/></Root></Loggers>
</Configuration>
"""


class KafkaProcess(ChildProcess):
    """One Kafka node; the ports and the data directory survive `kill` and `start`.

    `properties` are added to server.properties and win over what stands there.
    """

    def __init__(
        self,
        directory: Path,
        *,
        properties: Mapping[str, str] | None = None,
        client_properties: Mapping[str, str] | None = None,
        node_id: int = 1,
        port: int | None = None,
        controllers: Sequence[tuple[int, int]] = (),
        jvm: Sequence[str] = JVM_QUICK,
    ) -> None:
        super().__init__(f"kafka-{node_id}", directory / "kafka.log")
        self.directory = directory
        self.node_id = node_id
        self.port = port or free_port()
        self.bootstrap = f"127.0.0.1:{self.port}"
        self.version = kafka_artefacts.KAFKA_VERSION
        self.client = KafkaClient(self.bootstrap, client_properties)
        self._controllers = list(controllers) or [(node_id, free_port())]
        self._extra = dict(properties or {})
        self._jvm = tuple(jvm)
        self._is_formatted = False

    def add_properties(self, properties: Mapping[str, str]) -> None:
        """Add to server.properties; read at the next `start`."""
        self._extra.update(properties)

    def _server_properties(self) -> dict[str, str]:
        nodes = len(self._controllers)
        own = dict(self._controllers)[self.node_id]
        voters = ",".join(f"{node}@127.0.0.1:{port}" for node, port in self._controllers)
        return {
            "process.roles": "broker,controller",
            "node.id": str(self.node_id),
            "controller.quorum.voters": voters,
            "controller.listener.names": "CONTROLLER",
            "listeners": f"PLAINTEXT://{self.bootstrap},CONTROLLER://127.0.0.1:{own}",
            "listener.security.protocol.map": (
                "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT"
            ),
            "log.dirs": str(self.directory / "data"),
            "auto.create.topics.enable": "false",
            "offsets.topic.num.partitions": "1",
            "offsets.topic.replication.factor": str(nodes),
            "transaction.state.log.num.partitions": "1",
            "transaction.state.log.replication.factor": str(nodes),
            "transaction.state.log.min.isr": str(min(nodes, 2)),
            "min.insync.replicas": str(min(nodes, 2)),
            "group.initial.rebalance.delay.ms": "0",
            # A node that comes back waits until its former self is fenced: 9 s by default.
            "broker.session.timeout.ms": "1500" if nodes == 1 else "3000",
            "broker.heartbeat.interval.ms": "300",
            "controlled.shutdown.enable": "true" if nodes > 1 else "false",
            "initial.broker.registration.timeout.ms": "60000",
            "num.network.threads": "2",
            "num.io.threads": "4",
            "log.cleaner.dedupe.buffer.size": "4194304",  # 128 MB by default.
            "log.segment.delete.delay.ms": "0",
            **self._extra,
        }

    def _run_java(self) -> list[str]:
        libs = kafka_artefacts.fetch()
        log4j = self.directory / "log4j2.xml"
        return ["java", *self._jvm, f"-Dlog4j2.configurationFile={log4j}", "-cp", f"{libs}/*"]

    def spawn_node(self) -> None:
        """Start the process, formatting its storage the first time; does not wait for it."""
        java = self._run_java()
        config = self.directory / "server.properties"
        self.directory.mkdir(parents=True, exist_ok=True)
        lines = [f"{name}={value}\n" for name, value in self._server_properties().items()]
        config.write_text("".join(lines), encoding="utf-8")
        if not self._is_formatted:
            (self.directory / "log4j2.xml").write_text(_LOG4J, encoding="utf-8")
            tool = ChildProcess(f"{self.name}-format", self.directory / "format.log")
            tool.spawn(
                [*java, "kafka.tools.StorageTool", "format", "-t", _CLUSTER_ID, "-c", config],
                cwd=self.directory,
            )
            code = tool.wait(60.0)
            assert code == 0, f"could not format the storage of Kafka:\n{tool.output()}"
            self._is_formatted = True
        self.spawn([*java, "kafka.Kafka", config], cwd=self.directory)

    def await_ready(self) -> None:
        """Wait until the node answers a client's metadata request."""
        self.await_accept(self.port, _READY_DEADLINE_S)
        eventually(
            lambda: self.client.brokers_up() if self.is_alive else -1,
            lambda brokers: brokers != 0,
            what=f"{self.name} answers",
            deadline_s=_READY_DEADLINE_S,
        )
        self.assert_alive()

    def start(self) -> None:
        """Start, or start again on the same port and data, and wait until it answers (3-8 s)."""
        self.spawn_node()
        self.await_ready()

    def restart(self) -> None:
        """Stop in good order and start again."""
        self.stop()
        self.start()

    def remove(self) -> None:
        """Kill it and delete its data."""
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)


class KafkaCluster:
    """Three nodes with `min.insync.replicas=2`: leaders move, one node may be away."""

    def __init__(
        self, directory: Path, *, nodes: int = 3, properties: Mapping[str, str] | None = None
    ) -> None:
        controllers = [(number, free_port()) for number in range(1, nodes + 1)]
        self.nodes = [
            KafkaProcess(
                directory / f"node-{number}",
                node_id=number,
                controllers=controllers,
                properties=properties,
            )
            for number, _ in controllers
        ]
        self.bootstrap = ",".join(node.bootstrap for node in self.nodes)
        self.version = kafka_artefacts.KAFKA_VERSION
        self.client = KafkaClient(self.bootstrap)

    def start(self) -> None:
        """Start all nodes and wait until every one is a member."""
        for node in self.nodes:
            node.spawn_node()
        for node in self.nodes:
            node.await_ready()
        eventually(
            self.client.brokers_up,
            lambda brokers: brokers == len(self.nodes),
            what="all brokers are members",
            deadline_s=_READY_DEADLINE_S,
        )

    def leader_of(self, topic: str, partition: int = 0) -> KafkaProcess:
        """Return the node that leads this partition."""
        metadata = self.client.admin().list_topics(topic, timeout=10.0).topics[topic]
        leader = metadata.partitions[partition].leader
        return next(node for node in self.nodes if node.node_id == leader)

    def await_in_sync(self, topic: str) -> None:
        """Wait until every replica of the topic is in sync again."""

        def behind() -> int:
            metadata = self.client.admin().list_topics(topic, timeout=10.0).topics[topic]
            partitions = metadata.partitions.values()
            return sum(len(part.replicas) - len(part.isrs) for part in partitions)

        eventually(behind, lambda n: n == 0, what=f"{topic} is in sync", deadline_s=60.0)

    def stop(self) -> None:
        """Stop every node; the last one cannot hand over its leaders, so it is killed."""
        for node in self.nodes:
            node.kill()
