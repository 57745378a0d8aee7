"""Events of the fleet: the registry of its devices."""

from bridge.observe.catalogue.entry import Event, Level, event

EVENTS: tuple[Event, ...] = (
    event(
        "fleet_state_failed",
        Level.WARNING,
        "path error",
        "What is known of the devices (how much they sent, when) cannot be kept, or not be read:"
        " the next start, or this one, learns anew. Said once.",
        "Make room in the state directory, or set its rights.",
    ),
    event(
        "registry_loaded",
        Level.INFO,
        "source devices added changed removed types digest took_s",
        "The whole device registry was read from `source` (a file or a Kafka topic), and layer 4"
        " judges by it. `digest` is the same wherever the same registry is.",
    ),
    event(
        "registry_changed",
        Level.INFO,
        "source devices added changed removed digest",
        "Changes of the registry's Kafka topic were taken over.",
    ),
    event(
        "registry_reload_refused",
        Level.ERROR,
        "path line problem problems",
        "The registry file changed and cannot be used; the registry read before goes on. `problem`"
        " is the first of so many `problems`, at `line`.",
        "Mend the file; it is read again as soon as it changes.",
    ),
    event(
        "registry_not_known",
        Level.WARNING,
        "source error retry_in_s",
        "The registry could not be read yet, and no earlier state of it is kept here: messages flow"
        " on, and layer 4 flags nothing until it is known.",
        "Make the Kafka topic readable, and fill it: `mqtt-kafka-bridge registry load`.",
    ),
    event(
        "registry_snapshot_used",
        Level.WARNING,
        "source path devices saved_at error",
        "The registry's Kafka topic could not be read at start (`error`), so layer 4 judges by what"
        " it was at `saved_at`, until the topic is read.",
        "Make the Kafka topic readable.",
    ),
    event(
        "registry_snapshot_failed",
        Level.WARNING,
        "path error",
        "The registry could not be kept in, or read from, the state directory. A start without"
        " Kafka would not know it; nothing else rests on it.",
        "Make room on the file system, or mend the rights of the directory.",
    ),
    event(
        "registry_not_followed",
        Level.WARNING,
        "source error retry_in_s",
        "The registry's Kafka topic cannot be read at present; layer 4 judges by what was read"
        " before, and the topic is read anew as soon as it can be.",
        "Do what `error` asks for: the topic must be there, with the right to READ it.",
    ),
    event(
        "registry_entry_refused",
        Level.WARNING,
        "source key partition offset error refused",
        "Records of the registry's Kafka topic are no entries of devices, `refused` of them at"
        " once; the first is at this place. What was known of the device before stays.",
        "Write the entry anew, with `registry load`.",
    ),
)
