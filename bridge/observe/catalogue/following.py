"""Events of a device that is followed, and of those who look at single messages."""

from bridge.observe.catalogue.entry import Event, Level, event

EVENTS: tuple[Event, ...] = (
    event(
        "follow_began",
        Level.INFO,
        "device_id for_s",
        "From now on each message of this device is an event `message_followed`, whatever"
        " `log.level` says, until `follow_ended`.",
    ),
    event(
        "message_followed",
        Level.DEBUG,
        "device_id mqtt_topic packet_id verdict end reason detail idempotency_key kafka_topic"
        " partition offset batch_id reading_index latency_s dlq_id",
        "A message of the device that is followed, or a reading of it in a batch, and where it"
        " ended. `verdict`: accepted, flagged, rejected, duplicate, dropped. `end`: produced,"
        " spooled (on disk; told again as drained once Kafka has it), found (Kafka had it), known"
        " (a duplicate), shed, left_out. Partition and offset are those of the delivery report;"
        " a record that was under way when following began has none. At most 50 a second are"
        " written; `suppressed` counts those left out before.",
    ),
    event(
        "follow_ended",
        Level.INFO,
        "device_id cause messages left_out",
        "The device is followed no more: its time is over (expired), somebody asked for it"
        " (stopped), another is followed (replaced), or there was a bug (failed). `left_out` were"
        " beyond 50 a second.",
    ),
    event(
        "follow_refused",
        Level.WARNING,
        "path error",
        "A request to follow a device cannot be read, or not be taken away; nothing is followed.",
        "Ask with `mqtt-kafka-bridge follow`, as root or as the user of the bridge.",
    ),
    event(
        "witness_failed",
        Level.ERROR,
        "error where",
        "What looks at single messages (following, traces) met a bug and looks no more. No message"
        " was held or lost.",
        "Report it: this is a bug of the bridge.",
    ),
)
