"""Events of the spool, and of how long an outage of Kafka may last."""

from bridge.observe.catalogue.entry import Event, Level, event

EVENTS: tuple[Event, ...] = (
    event(
        "spool_opened",
        Level.INFO,
        "directory rows bytes bytes_max after_clean_stop took_s",
        "The spool is open; its `rows` are acknowledged and not yet in Kafka. After an end that was"
        " not clean (`after_clean_stop` false) every page was checked, and rows that Kafka may have"
        " are looked up there before they are produced.",
    ),
    event(
        "spool_set_aside",
        Level.ERROR,
        "path error",
        "The spool was corrupt: the file is kept under the name `path`, and a new one begun. What"
        " was acknowledged and not yet in Kafka is in the old file alone.",
        "Do not delete the file. Try `sqlite3 FILE .recover` on a copy, and look at the disk.",
    ),
    event(
        "spool_lost",
        Level.ERROR,
        "directory error",
        "The spool held acknowledged records when it was last used, and they are not there any"
        " more: a file was removed, emptied or replaced. They are lost, unless somebody has it.",
        "Find out who cleans this directory; put the old file back while the bridge is stopped.",
    ),
    event(
        "spool_topic_not_configured",
        Level.WARNING,
        "kafka_topic rows",
        "The spool has records for a Kafka topic that no route writes any more; they still go"
        " there.",
        "Leave the topic, and the right to write it, until `spool_drained` names it.",
        repeats_by="kafka_topic",
    ),
    event(
        "spool_took_over",
        Level.WARNING,
        "kafka_topic records cause error",
        "Records of this topic now go to disk and are acknowledged from there. `cause`: silent (the"
        " topic confirmed nothing for `spool.after_s`), stuck (some partitions, the rest goes"
        " direct), shed (Kafka is slow, and other records go first) or start (it is not known yet"
        " what Kafka has).",
        "Find out why Kafka takes nothing; the spool drains by itself once it does.",
        repeats_by="kafka_topic",
    ),
    event(
        "spool_drain_started",
        Level.INFO,
        "kafka_topic rows",
        "Kafka takes records of this topic again; the spool drains in order.",
        repeats_by="kafka_topic",
    ),
    event(
        "spool_drained",
        Level.INFO,
        "kafka_topic rows_at_peak took_s",
        "Nothing of this topic is in the spool any more: its records go direct.",
        repeats_by="kafka_topic",
    ),
    event(
        "spool_rows_known",
        Level.INFO,
        "kafka_topic rows",
        "These rows were in Kafka already: the bridge before had ended between the delivery report"
        " and their removal. They are removed and not produced again.",
        repeats_by="kafka_topic",
    ),
    event(
        "spool_full",
        Level.ERROR,
        "rows bytes bytes_max outage_budget_s remedy",
        "The spool has reached `spool.bytes_max`: nothing is acknowledged any more, and the MQTT"
        " broker holds what comes, for `outage_budget_s` at the present inflow (absent: nobody"
        " said how much it holds). Then it drops messages.",
        "Bring Kafka back, or raise `spool.bytes_max` and restart.",
    ),
    event(
        "spool_room_again",
        Level.INFO,
        "bytes bytes_max full_s",
        "The spool takes records again.",
    ),
    event(
        "spool_failed",
        Level.ERROR,
        "error pending remedy",
        "The disk does not take the spool's records, or does not give them back. What is on its"
        " way (`pending`) is not acknowledged, so the MQTT broker still has it; it is tried again,"
        " every 30 s at most. Said once, until it recovers.",
        "Do what `remedy` says: make room on the file system, or mend the disk.",
    ),
    event(
        "spool_recovered",
        Level.INFO,
        "failed_s",
        "The disk does again what it failed to do.",
    ),
    event(
        "spool_row_unreadable",
        Level.ERROR,
        "kafka_topic sequence error dlq_id row_bytes",
        "A row of the spool cannot be read as a record; its bytes go to the dead letter topic as"
        " they are, `internal_error`, under `dlq_id`.",
        "Report it with the dead letter: this is a bug of the bridge, or a disk that errs.",
        repeats_by="kafka_topic",
    ),
    event(
        "spool_stopped_with",
        Level.INFO,
        "rows bytes written took_s",
        "The bridge stops with so many records in the spool, `written` of them by the stop itself;"
        " they are acknowledged, and the next start drains them.",
        "Start the bridge again on this host: nobody else has these records.",
    ),
    event(
        "spool_stop_failed",
        Level.WARNING,
        "error unsettled",
        "The stop could not put into the spool what Kafka had not confirmed. It stays"
        " unacknowledged: the MQTT broker sends it again after the next start.",
        "Make room on the file system, or mend the disk, before the next start.",
    ),
    event(
        "outage_budget_low",
        Level.ERROR,
        "seconds spool_bytes spool_bytes_max inflow_per_s is_unknown_after remedy",
        "Kafka is away, and at the present inflow something will be lost in `seconds`, unless it"
        " comes back. Said below 3600 and below 600. `is_unknown_after`: nobody told how much the"
        " MQTT broker's queue holds, so it is not counted.",
        "Bring Kafka back first; then do what `remedy` says.",
    ),
    event(
        "outage_budget_recovered",
        Level.INFO,
        "seconds",
        "An outage of Kafka may last so long again.",
    ),
    event(
        "shedding_changed",
        Level.WARNING,
        "priorities load action",
        "Kafka takes less than comes: records of these `priorities` go to disk now (`action` spool:"
        " acknowledged, and to Kafka when there is room), or are dropped (`action` drop). `load` is"
        " what Kafka was handed and has not confirmed, as a share of the room for it.",
        "Give Kafka or the way to it what it lacks, or send less; high priority is served first.",
        repeats_by="priorities",
    ),
    event(
        "shedding_ended",
        Level.INFO,
        "records took_s load",
        "Everything goes direct again, but for devices with records still on disk; so many"
        " `records` were shed.",
    ),
)
