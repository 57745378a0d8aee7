"""Events of the fleet: its registry, and what shows of its devices over time."""

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
    event(
        "device_silent",
        Level.WARNING,
        "device_id device_type last_heard_at silent_s expected_interval_s",
        "The device was not heard for `silence.multiplier` times `expected_interval_s`, while it"
        " could have been. Said once, and again when it is heard; every one is in"
        " `silence.kafka_topic` too.",
        "Look at the device; give it another `expected_interval_s` in the registry if it speaks"
        " rarely on purpose.",
    ),
    event(
        "device_recovered",
        Level.INFO,
        "device_id device_type last_heard_at silent_s",
        "A device that was told to be silent is heard again; `last_heard_at` is before that.",
    ),
    event(
        "device_offline",
        Level.WARNING,
        "device_id device_type last_heard_at silent_s",
        "The device, or its will, says that it is gone: told at once, instead of a silence.",
        "Look at the device, unless it was switched off.",
    ),
    event(
        "device_online",
        Level.INFO,
        "device_id device_type last_heard_at silent_s",
        "A device that was told to be offline says that it is there, or is heard.",
    ),
    event(
        "fleet_silent",
        Level.ERROR,
        "devices share since",
        "Many devices fell silent at once, `share` of those that spoke: told instead of each of"
        " them. The first was last heard at `since`.",
        "Look for what they have in common: a network, a site, the MQTT broker they publish to.",
    ),
    event(
        "fleet_recovered",
        Level.INFO,
        "still_silent since",
        "Most of them are heard again; each that is not is told as `device_silent` now.",
    ),
    event(
        "alert_record_held",
        Level.WARNING,
        "kafka_topic error held",
        "Kafka does not take the alerts; they wait, nothing else does, and of more than 50,000 the"
        " oldest go. A stop keeps them. Said once, until one is taken.",
        "Create the topic of `silence.kafka_topic`, or grant WRITE on it.",
        repeats_by="error",
    ),
    event(
        "device_clock_wrong",
        Level.WARNING,
        "device_id offset_s",
        "The device's clock is wrong by `offset_s`, more than `validation.clock_offset_max_s`;"
        " server minus device, so it is ahead where this is negative. Late readings are told from"
        " a wrong clock: what is buffered is caught up with.",
        "See to the device's time; `validation.timestamp_*` says what becomes of its messages.",
    ),
    event(
        "device_clock_right",
        Level.INFO,
        "device_id offset_s",
        "A device's clock that was wrong is right again.",
    ),
    event(
        "attendance_failed",
        Level.ERROR,
        "error where",
        "A bug of ours: of one batch it is not known who was heard. Its messages went on, and who"
        " is told silent meanwhile may have spoken.",
        "Report it, with this line.",
        repeats_by="where",
    ),
    event(
        "shadow_failed",
        Level.ERROR,
        "error where",
        "A bug of ours: what the rules of `[shadow]` say of a reading is not known. The reading"
        " went on as if they were not there.",
        "Report it, with this line.",
        repeats_by="where",
    ),
    event(
        "host_clock_unsynchronised",
        Level.ERROR,
        "cause is_kept fleet_drift_s",
        "This host's own clock is doubted, so timestamps are not judged: messages pass with the"
        " warning `host_clock_unsynchronised`, whatever their time. `before_release`: the clock is"
        " before any version of this software. `fleet_disagrees`: the kernel does not say that"
        " somebody keeps the clock (`is_kept`), and the devices agree on another time,"
        " `fleet_drift_s` from ours.",
        "Set the clock and keep it: NTP (timedatectl status). Until then `server_received_at` is"
        " wrong too.",
    ),
    event(
        "host_clock_trusted",
        Level.INFO,
        "is_kept",
        "The host's own clock was doubted and is so no longer: timestamps are judged again.",
    ),
)
