"""The whole configuration on one page: every key, its default, its bounds, its meaning.

The docstring below a key is its description in the generated reference
(docs/configuration.md) and in the JSON Schema. Bounds that need two keys stand in `rules.py`.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta, field
from msgspec.structs import force_setattr

NonEmpty = Annotated[str, Meta(min_length=1)]
Port = Annotated[int, Meta(ge=1, le=65_535)]
PositiveSeconds = Annotated[float, Meta(gt=0)]
ShareOfAll = Annotated[float, Meta(gt=0, le=1)]
FlaggedMode = Literal["forward", "dlq", "both"]
Range = Annotated[tuple[float, ...], Meta(max_length=2)]
"""[low, high], both allowed; [] is no range, to be rid of a default."""

RANGES: Final[Mapping[str, Range]] = MappingProxyType(
    {
        "temperature": (-50.0, 150.0),
        "humidity": (0.0, 100.0),
        "pressure": (800.0, 1200.0),
        "battery_level": (0.0, 100.0),
        "signal_strength": (-120.0, 0.0),
    }
)
"""The ranges that hold where the file says nothing else of the name."""


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One table of the file; a misspelt key is an error, never a silent default."""


class Secret(Section, frozen=True):
    """Where a secret is kept; exactly one of the three. The secret itself is never inline."""

    file: NonEmpty | None = None
    """Path of a file whose content, less one trailing newline, is the secret."""
    env: NonEmpty | None = None
    """Name of an environment variable."""
    credential: NonEmpty | None = None
    """Name of a systemd credential (LoadCredential=), read from $CREDENTIALS_DIRECTORY."""


class MqttTls(Section, frozen=True):
    """TLS to the MQTT broker; an empty table means the trust store of the system."""

    ca_file: NonEmpty | None = None
    """PEM file with the certificate authorities to trust instead of the system's."""
    cert_file: NonEmpty | None = None
    """PEM file with the bridge's own certificate (mutual TLS)."""
    key_file: NonEmpty | None = None
    """PEM file with the private key of `cert_file`; nobody but its owner may read it."""
    server_name: NonEmpty | None = None
    """Name to expect in the broker's certificate where it is not `mqtt.host`."""
    minimum_version: Literal["1.2", "1.3"] = "1.2"
    """Oldest TLS version that is accepted."""


class MqttSection(Section, frozen=True):
    """Where telemetry comes from: one MQTT 5 broker."""

    host: NonEmpty = "127.0.0.1"
    """Name or address of the MQTT broker; all addresses of a name are tried."""
    port: Port = 1883
    """TCP port of the MQTT broker; 8883 is usual with TLS."""
    client_id: Annotated[str, Meta(min_length=1, max_length=1_024)] = "mqtt-kafka-bridge"
    """Fixed Client Identifier: the session hangs on it, so it must not change between starts."""
    username: NonEmpty | None = None
    """User name for the MQTT broker."""
    password: Secret | None = None
    """Password for the MQTT broker."""
    session_expiry_s: Annotated[int, Meta(ge=1, le=4_294_967_295)] = 604_800
    """How long the MQTT broker keeps the session, and what queues in it, while we are away."""
    receive_maximum: Annotated[int, Meta(ge=1, le=65_534)] = 2_000
    """PUBLISHes the MQTT broker may leave unacknowledged; 65,535 would be left out of CONNECT."""
    unsettled_max: Annotated[int, Meta(ge=1, le=10_000_000)] = 20_000
    """The bridge's own bound: reading pauses at this many records not yet confirmed or on disk."""
    unsettled_bytes_max: Annotated[int, Meta(ge=1_048_576)] = 67_108_864
    """The same bound in bytes, counted as what the bridge itself holds of those records."""
    packet_bytes_max: Annotated[int, Meta(ge=1_024, le=268_435_455)] = 2_097_152
    """A larger PUBLISH becomes a dead letter of its first 64 KiB; it never disconnects."""
    keep_alive_s: Annotated[int, Meta(ge=1, le=65_535)] = 30
    """Keep Alive asked for; the MQTT broker may impose its own."""
    rest_ms: Annotated[int, Meta(ge=0, le=20)] = 5
    """How long the socket rests after a read where three messages or more come meanwhile (with 5:
    from 600 a second on), so that they share the next one. At 2,000 a second, 0 makes a record half
    as old for twice the CPU."""
    broker_queue_messages: Annotated[int, Meta(ge=0)] = 0
    """How many messages the MQTT broker queues for us, for the outage budget; 0: unknown."""
    broker_queue_bytes: Annotated[int, Meta(ge=0)] = 0
    """The same in bytes; 0: unknown."""
    share_group: str = ""
    """Set: each filter becomes `$share/<share_group>/<filter>`, and all bridges of the group, each
    with its own client id, are dealt a part. Void with it: the order of a device, duplicates that
    come to another member, limits, and what is dealt to a member that never returns."""
    canary_device_id: Annotated[str, Meta(max_length=64)] = ""
    """Set: a message in its name through each filter, once a minute, proves that reading works."""
    tls: MqttTls | None = None
    """TLS settings; `{}` uses the trust store of the system, absent means plain TCP."""


class KafkaSection(Section, frozen=True):
    """Where records go."""

    bootstrap_servers: NonEmpty = "127.0.0.1:9092"
    """Comma-separated host:port list of the Kafka cluster."""
    username: NonEmpty | None = None
    """SASL user name."""
    password: Secret | None = None
    """SASL password."""
    quiet_s: Annotated[float, Meta(ge=0, le=60)] = 2.0
    """How long the partitions' ends must stand still before anything is produced a second time."""
    requests_in_flight_max: Annotated[int, Meta(ge=1, le=5)] = 5
    """Produce requests on one connection without an answer. Above 1 librdkafka may double what was
    in doubt when a broker died (`kafka_records_may_be_doubled`); with 1 only where Kafka refuses
    a record meanwhile, but partitions of one broker wait for each other: docs/guarantees.md."""
    properties: dict[str, str | int | float | bool | Secret] = {}
    """Further librdkafka properties by their own names; those the promise rests on are refused.
    Without `linger.ms` nothing lingers, but for 5 ms in a backlog: from 20,000 records a second, in
    a window (Receive Maximum, Mosquitto's `max_inflight_messages`) of a few hundred or more."""


class Route(Section, frozen=True):
    """Which MQTT messages go to which Kafka topic."""

    filter: NonEmpty = "devices/+/telemetry"
    """Topic Filter; its one + is the device id."""
    kafka_topic: NonEmpty = "telemetry-raw"
    """Kafka topic of the telemetry records."""
    kind: Literal["telemetry", "batch", "opaque"] = "telemetry"
    """What a message is: `telemetry` is validated and enriched, `batch` holds many readings that
    become telemetry one by one, `opaque` is carried as it is."""
    format: Literal["json", "msgpack", "cbor", "protobuf", "binary"] = "json"
    """Format of a payload whose PUBLISH names no Content Type."""
    layout: NonEmpty | None = None
    """Name of the table in `layout` that says what the bytes are; with `binary`, and only there."""
    protobuf: NonEmpty | None = None
    """Name of the table in `protobuf` that says how Protobuf messages are read, those that only
    their Content Type calls so too; left out: as telemetry.proto has it."""
    priority: Literal["high", "medium", "low"] = "medium"
    """`high` has no limit of its devices unless the route sets one."""
    per_device_per_s: Annotated[float, Meta(ge=0)] | None = None
    """Messages a second that one device may send on this route; left out: `limits` says it."""
    payload_bytes_max: Annotated[int, Meta(ge=1, le=268_435_455)] = 262_144
    """A larger payload becomes a dead letter `too_large`; left out on a batch route: 1048576."""
    user_properties: Annotated[tuple[NonEmpty, ...], Meta(max_length=16)] = ()
    """Names of MQTT 5 User Properties that become headers `mqtt.user.<name>`."""
    presence: bool = False
    """On an opaque route: payloads `online` and `offline`, wills too, say whether a device is
    there; they are carried all the same."""


FieldType: TypeAlias = Literal[
    "u8", "i8", "u16", "i16", "u24", "i24", "u32", "i32", "u64", "i64", "f32", "f64", "bool"
]


class BinaryField(Section, frozen=True):
    """One field of a binary layout; it begins where the one before it ends."""

    name: Annotated[str, Meta(min_length=1, max_length=128)]
    """Name in the record."""
    type: FieldType
    """Type on the wire: u, i and f with their bits, or bool, a byte that is 0 or not."""
    to: Literal["metrics", "metadata", "timestamp", "ignored"] = "metrics"
    """Where the value goes; `ignored` leaves reserved bytes out."""
    unit: Literal["s", "ms"] | None = None
    """Of the timestamp only: seconds or milliseconds since 1970."""
    scale: int | float = 1
    """The record has integer * scale + offset, exact in decimal: 215 and 0.1 give 21.5."""
    offset: int | float = 0
    """Added after the scale."""
    missing: int | float | Literal["nan"] | None = None
    """The value on the wire, or `nan`, that means there is none; the record has null."""


class BinaryLayout(Section, frozen=True):
    """A fixed binary layout: every payload has exactly the bytes of its fields, without padding."""

    byte_order: Literal["little", "big"]
    """Order of the bytes of one number; no default, since a wrong one goes unnoticed."""
    fields: Annotated[tuple[BinaryField, ...], Meta(min_length=1)]
    """The fields, in their order; one of them is the timestamp."""


class ProtobufFields(Section, frozen=True):
    """Where in a Protobuf message the parts of a record stand: paths such as `header.sent_at`."""

    timestamp: NonEmpty
    """A string, a number, or a google.protobuf.Timestamp."""
    metrics: dict[str, NonEmpty] | NonEmpty
    """A table of names and paths, or the path of a map field."""
    timestamp_unit: Literal["auto", "s", "ms", "us", "ns"] = "auto"
    """Unit of a number; `auto` is seconds below 1e11, else milliseconds."""
    device_id: NonEmpty | None = None
    """A string that must equal the device id of the MQTT topic; left out: that one is taken."""
    metadata: dict[str, NonEmpty] | NonEmpty = {}
    """The same for the metadata; here a field may also be repeated."""


class ProtobufSection(Section, frozen=True):
    """How Protobuf messages of your own are read, on the routes that name this table."""

    descriptor_set: NonEmpty
    """File that `protoc --include_imports --descriptor_set_out=FILE` writes; read at the start."""
    message: NonEmpty
    """Full name of the message, such as `acme.v1.Reading`."""
    fields: ProtobufFields
    """Where in it the parts of a record stand."""


class DeadLetterSection(Section, frozen=True):
    """Where messages go that cannot be telemetry."""

    kafka_topic: NonEmpty = "telemetry-dlq"
    """Kafka topic of the dead letters."""


class TypeSection(Section, frozen=True):
    """What is special to the devices of one type, as the registry names it."""

    ranges: dict[str, Range] = {}
    """Ranges that replace those of `validation.ranges`, by name; `[]` is none."""


class ValidationSection(Section, frozen=True):
    """What a sane message is."""

    timestamp_future_max_s: Annotated[float, Meta(ge=0)] = 300
    """How far a device's timestamp may be ahead of the server's clock."""
    timestamp_age_max_s: PositiveSeconds = 604_800
    """How old a device's timestamp may be."""
    clock_offset_max_s: PositiveSeconds = 30
    """A device's clock that is wrong by more is told, once; its messages are judged as all are."""
    semantic: FlaggedMode = "both"
    """Where a message goes that layer 3 (ranges) flags: on, to the dead letters, or both."""
    business: FlaggedMode = "both"
    """The same for layer 4: the device and what the registry says of it."""
    flagged_copy_interval_s: Annotated[float, Meta(ge=0)] = 60
    """With `both`: one copy a device and reason in this time; 0: every one."""
    firmware_recalled: tuple[NonEmpty, ...] = ()
    """Versions, such as `1.4.2`, and ranges of versions, such as `>=2.0.0,<2.0.7`."""
    ranges: dict[str, Range] = field(default_factory=lambda: dict(RANGES))
    """[low, high] of a name in metrics or metadata, joined to the default ones; `[]` is none."""
    units: dict[str, NonEmpty] = {}
    """Unit of a name that has a range, for messages to people, such as `Cel`."""
    types: dict[str, TypeSection] = {}
    """Other ranges for the devices of a type; the registry says which type a device has."""

    def __post_init__(self) -> None:
        """Keep the default range of a name that the file does not speak of."""
        force_setattr(self, "ranges", {**RANGES, **self.ranges})


class ShadowSection(Section, frozen=True):
    """Rules on trial, judged beside those of `validation` without effect; absent: none are.

    What is left out here is as in `validation`.
    """

    sample_ratio: ShareOfAll = 1.0
    """The share of the readings that is judged, drawn by chance."""
    timestamp_future_max_s: Annotated[float, Meta(ge=0)] | None = None
    """How far a device's timestamp may be ahead of the server's clock."""
    timestamp_age_max_s: PositiveSeconds | None = None
    """How old a device's timestamp may be."""
    firmware_recalled: tuple[NonEmpty, ...] | None = None
    """Versions and ranges of versions, in place of `validation.firmware_recalled`."""
    metrics_required: Annotated[tuple[NonEmpty, ...], Meta(max_length=64)] = ()
    """Names that every reading has to have in its metrics; `validation` asks for none yet."""
    metrics_max: Annotated[int, Meta(ge=1, le=1_000)] = 1_000
    """Most entries in metrics; the schema of today takes 1,000."""
    ranges: dict[str, Range] = {}
    """[low, high] of a name, joined to `validation.ranges`; `[]` is none."""
    types: dict[str, TypeSection] = {}
    """Ranges for the devices of a type, joined to those of `validation.types`."""


class RegistrySection(Section, frozen=True):
    """Where the registry of the devices is; exactly one of the two. Without it layer 4 is off."""

    file: NonEmpty | None = None
    """TOML file with a table for each device; read again when it changes."""
    kafka_topic: NonEmpty | None = None
    """Compacted Kafka topic, key device id; `registry load` fills it from such a file."""


class LimitsSection(Section, frozen=True):
    """How much a device may send. A backlog is not punished: the device's own clock counts too."""

    per_device_per_s: Annotated[float, Meta(ge=0)] = 10.0
    """Messages a second; 0 turns the limits off."""
    burst: Annotated[int, Meta(ge=1, le=1_000_000)] = 20
    """Messages at once, after a pause."""
    on_exceed: Literal["dlq", "drop"] = "dlq"
    """What becomes of the rest: dead letters `rate_limited`, or nothing but a count."""


class SpoolSection(Section, frozen=True):
    """Where acknowledged records lie while Kafka is away."""

    directory: NonEmpty | None = None
    """Default: $STATE_DIRECTORY, else the user's state directory, one for each client id."""
    bytes_max: Annotated[int, Meta(ge=0)] = 1_073_741_824
    """Bytes of records on disk; 0 turns the spool off."""
    after_s: PositiveSeconds = 5.0
    """A Kafka topic that has confirmed nothing for so long: its records go to disk."""


class SheddingSection(Section, frozen=True):
    """What goes over the disk while Kafka takes less than comes: the less important first.

    The load is what Kafka was handed and has not confirmed, over the smaller of
    `mqtt.receive_maximum` and `mqtt.unsettled_max`.
    """

    low_above: ShareOfAll = 0.7
    """Load above which records of low priority are shed."""
    medium_above: ShareOfAll = 0.9
    """Load above which those of medium priority are shed too; high is never shed."""
    action: Literal["spool", "drop"] = "spool"
    """What becomes of them: to disk, acknowledged, and to Kafka when there is room; or nothing but
    a count."""


class SilenceSection(Section, frozen=True):
    """Which devices fell silent, and where that is told."""

    source: Literal["mqtt", "kafka"] = "mqtt"
    """Who listens: the bridge itself, or `watch`, which reads the telemetry topics."""
    expected_interval_s: PositiveSeconds = 60
    """How often a device is taken to speak at most; the registry may name another interval."""
    multiplier: Annotated[float, Meta(ge=0)] = 3
    """So many intervals without a message are a silence; 0 turns it off."""
    fleet_share: ShareOfAll = 0.2
    """That share of the devices silent at once is told as one silence of the fleet,"""
    fleet_min: Annotated[int, Meta(ge=1, le=1_000_000)] = 20
    """where it is at least so many devices."""
    kafka_topic: NonEmpty = "device-alerts"
    """Kafka topic of the alerts; where it cannot be written, nothing else waits for it."""
    watch_group: NonEmpty = "mqtt-kafka-bridge-watch"
    """Consumer group of all `watch` of one fleet: each device has one of them."""
    watch_back_s: Annotated[float, Meta(gt=0, le=604_800)] = 3_600
    """How far back `watch` reads, so as to know who spoke before it came."""


class GapsSection(Section, frozen=True):
    """Where it is told that messages may be missing."""

    kafka_topic: NonEmpty = "bridge-gaps"
    """Kafka topic of the gap records; where it cannot be written, nothing else waits for it."""


class OpsSection(Section, frozen=True):
    """Health, metrics, status and its page over HTTP."""

    listen: NonEmpty = "127.0.0.1:9464"
    """Address and port to listen on; port 0 takes a free one and logs it."""
    token: Secret | None = None
    """What everything but health and metrics asks for, as Bearer or as the password of Basic; off
    loopback they are refused without one."""
    hosts: tuple[NonEmpty, ...] = ()
    """More names under which they may be asked for, such as that of a reverse proxy."""
    examples: bool = False
    """Show the last dead letters of each reason, with the head of their payload."""


class DedupSection(Section, frozen=True):
    """How far back duplicates are recognised: the smaller of the two."""

    ttl_s: PositiveSeconds = 3_600
    """Age up to which a message is remembered."""
    keys_max: Annotated[int, Meta(ge=0, le=100_000_000)] = 1_000_000
    """Messages remembered, about 25 bytes each; 0 turns deduplication off."""


class LogSection(Section, frozen=True):
    """What the bridge says on standard output."""

    format: Literal["auto", "console", "json", "journal"] = "auto"
    """`auto` is console on a terminal, `journal` (fields that `journalctl` finds) where standard
    output is that of a systemd unit, else JSON lines."""
    level: Literal["debug", "info", "warning", "error"] = "info"
    """Lowest level that is written."""


class TraceSection(Section, frozen=True):
    """Spans of sampled messages for OpenTelemetry (the extra `otel`). Headers need none of it."""

    sample_ratio: Annotated[float, Meta(ge=0, le=1)] = 0
    """Share of the messages without a trace context that get a span; those with one follow its
    sampled flag. 0: no spans at all."""
    endpoint: NonEmpty = "http://127.0.0.1:4318/v1/traces"
    """OTLP over HTTP; headers with secrets: OTEL_EXPORTER_OTLP_HEADERS in the environment."""


class ShutdownSection(Section, frozen=True):
    """How a stop goes."""

    drain_timeout_s: Annotated[float, Meta(ge=6, le=3_600)] = 30
    """Whole budget of a stop; the flush to Kafka gets it less 5 s."""


class BridgeConfig(Section, frozen=True):
    """The root of the file."""

    mqtt: MqttSection = MqttSection()
    kafka: KafkaSection = KafkaSection()
    route: Annotated[tuple[Route, ...], Meta(min_length=1)] = (Route(),)
    layout: dict[str, BinaryLayout] = {}
    protobuf: dict[str, ProtobufSection] = {}
    dead_letter: DeadLetterSection = DeadLetterSection()
    validation: ValidationSection = ValidationSection()
    shadow: ShadowSection | None = None
    registry: RegistrySection | None = None
    limits: LimitsSection = LimitsSection()
    dedup: DedupSection = DedupSection()
    spool: SpoolSection = SpoolSection()
    shedding: SheddingSection = SheddingSection()
    silence: SilenceSection = SilenceSection()
    gaps: GapsSection = GapsSection()
    ops: OpsSection = OpsSection()
    log: LogSection = LogSection()
    trace: TraceSection = TraceSection()
    shutdown: ShutdownSection = ShutdownSection()
