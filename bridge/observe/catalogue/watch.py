"""Events of `watch`, which judges from Kafka which devices fell silent."""

from bridge.observe.catalogue.entry import Event, Level, event

EVENTS: tuple[Event, ...] = (
    event(
        "watch_started",
        Level.INFO,
        "version config_path group kafka_topics back_s pid",
        "`watch` started, as a member of the consumer group `silence.watch_group`. What it tells of"
        " devices are the events of the fleet: `device_silent` and the others.",
    ),
    event(
        "watch_assigned",
        Level.INFO,
        "partitions reads_from told",
        "The devices of these partitions are ours. The records since `reads_from` are read first,"
        " and nobody is told meanwhile; of `told` devices the alerts say that they are gone.",
    ),
    event(
        "watch_caught_up",
        Level.INFO,
        "devices silent took_s",
        "All was read back: `devices` are known, `silent` of them are told to be gone. From now on"
        " silences are told as they come.",
    ),
    event(
        "watch_revoked",
        Level.INFO,
        "partitions",
        "The partitions are handed over, or lost: another member joined or left, or Kafka did not"
        " hear from us for too long. Whoever gets them reads back.",
    ),
    event(
        "watch_unavailable",
        Level.WARNING,
        "error retry_in_s",
        "The topics cannot be read: silence is not judged until they can be. Said once for each"
        " cause.",
        "Do what `error` asks for: the topics must be there, with the right to READ them and the"
        " group `silence.watch_group`.",
    ),
    event(
        "watch_partitions_differ",
        Level.ERROR,
        "error retry_in_s",
        "The Kafka topics of the routes have not equally many partitions, so a device that speaks"
        " on several would have several owners. Silence is not judged. Said once for each cause.",
        "Give them the same number of partitions.",
    ),
    event(
        "watch_stopped",
        Level.INFO,
        "alerts alerts_held uptime_s exit_code",
        "`watch` ended; it told so many `alerts`, and Kafka has not confirmed `alerts_held` of"
        " them: whoever watches next tells those.",
    ),
)
