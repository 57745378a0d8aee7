"""Events of the process: start, readiness, stop, the log itself."""

from bridge.observe.catalogue.entry import Event, Level, event

EVENTS: tuple[Event, ...] = (
    event(
        "bridge_started",
        Level.INFO,
        "version config_path mqtt_address bootstrap_servers client_id routes python event_loop"
        " librdkafka pid",
        "The configuration is read and the bridge begins to connect.",
    ),
    event(
        "configuration_warned",
        Level.WARNING,
        "warning",
        "The configuration works, but this is probably not meant.",
        "Do what the warning says, or leave it on purpose.",
        repeats_by="warning",
    ),
    event(
        "fault_point_armed",
        Level.WARNING,
        "point action stall_s at",
        "`BRIDGE_FAULT_POINTS` is set: this bridge will kill, fail or stall itself at `point`, the"
        " `at`-th time or each time. For tests only.",
        "Take the variable out of the environment, unless this is a test.",
    ),
    event(
        "ops_listening",
        Level.INFO,
        "address",
        "Health, metrics and the status page can be asked for at this address.",
    ),
    event(
        "bridge_ready",
        Level.INFO,
        "after_s",
        "Subscribed, and Kafka answers: messages flow. `/health/ready` is 200.",
    ),
    event(
        "bridge_not_ready",
        Level.WARNING,
        "parts states",
        "Messages do not flow at present; `parts` names what is missing. Nothing is lost: what is"
        " not confirmed goes to the spool or stays with the MQTT broker.",
        "Look at the events of the part that is named.",
    ),
    event(
        "certificate_expires_soon",
        Level.WARNING,
        "link path ends_at days_left",
        "Our own certificate for a link (mqtt, kafka) ends in `days_left`; told once each with 30,"
        " 14, 7, 3 days and a day left.",
        "Renew it under the same `path`: the link is renewed with it, and nothing is lost.",
        repeats_by="link",
    ),
    event(
        "certificate_expired",
        Level.ERROR,
        "link path ends_at days_left",
        "Our own certificate for a link has ended: a connection that stands goes on, the next one"
        " will be refused.",
        "Renew it under the same `path` now.",
        repeats_by="link",
    ),
    event(
        "certificate_unreadable",
        Level.WARNING,
        "link path error",
        "Nobody knows when our own certificate for a link ends, for the file cannot be read.",
        "Mend the file, or the rights to read it; what connects next needs it too.",
        repeats_by="link",
    ),
    event(
        "certificate_renewed",
        Level.INFO,
        "link path ends_at days_left",
        "The file holds a certificate that ends later than the one before.",
        repeats_by="link",
    ),
    event(
        "reading_paused",
        Level.WARNING,
        "cause unsettled unsettled_bytes",
        "A bound on what may be unsettled is reached, so the bridge reads no further; the MQTT"
        " broker holds the rest.",
        "Find out why Kafka is slow or away; `cause` names the bound.",
        repeats_by="cause",
    ),
    event(
        "reading_resumed",
        Level.INFO,
        "cause paused_s",
        "Enough is settled; the bridge reads again.",
        repeats_by="cause",
    ),
    event(
        "message_dead_lettered",
        Level.WARNING,
        "dlq_id reason layer detail device_id mqtt_topic kafka_topic copy",
        "A message could not become telemetry and is in the dead letter topic, byte for byte;"
        " `dlq_id` is the header `dlq.id` there. With `copy` it is telemetry too, flagged.",
        "Mend the device or the route; `detail` says what was wrong.",
        repeats_by="reason",
    ),
    event(
        "bridge_failed",
        Level.ERROR,
        "error where",
        "The bridge met a bug of its own and stops with exit code 70; the MQTT broker still has"
        " what is not acknowledged.",
        "Report it with the log.",
    ),
    event(
        "conservation_broken",
        Level.ERROR,
        "residue received spooled_at_start produced dead_lettered duplicates dropped spooled"
        " in_flight",
        "Messages received and messages accounted for differ.",
        "Report it with the log: this is a bug of the bridge; it stops with exit code 70.",
    ),
    event(
        "stop_signal_received",
        Level.INFO,
        "signal count",
        "The bridge was asked to stop; a second signal skips the flush.",
    ),
    event(
        "configuration_reloaded",
        Level.INFO,
        "cause config_path changed renewed needs_restart took_s",
        "The configuration was read anew (`cause`: signal, file, or retry) and what can be taken"
        " while running was: `changed` says it key by key, `renewed` which links were made anew."
        " Keys in `needs_restart` keep their old value until then.",
        "Where `needs_restart` names keys, restart the bridge when it suits: nothing is lost.",
    ),
    event(
        "reload_refused",
        Level.ERROR,
        "cause config_path problems",
        "The configuration, or a file that it names, cannot be used; all of it is as it was.",
        "Mend what `problems` name, with line and key, and reload; a saved file is seen by itself.",
    ),
    event(
        "kafka_renewal_failed",
        Level.ERROR,
        "error retry_in_s",
        "The producer stays as it is: with the new credentials or certificates Kafka does not"
        " answer, while it does with the old ones; or the old producer does not deliver what it"
        " has, so that nothing may follow it. `error` says which.",
        "Check the new files and what Kafka says of them, or look for a topic or partition that"
        " takes nothing; the bridge tries again by itself.",
    ),
    event(
        "kafka_producer_renewed",
        Level.INFO,
        "waited_s is_drained",
        "A new producer took over. `is_drained` says that the old one had delivered all before;"
        " else what it may have sent was looked for in Kafka first.",
    ),
    event(
        "kafka_linger_changed",
        Level.INFO,
        "linger_ms records_per_s took_s",
        "Records go so fast, or so slowly again, that librdkafka shall wait for more of them, or no"
        " longer, before it sends: `linger_ms`. A second producer took over for it.",
    ),
    event(
        "kafka_linger_kept",
        Level.INFO,
        "linger_ms records_per_s error retry_in_s",
        "Another linger would suit the pace of the records, but the second producer could not take"
        " over; `error` says why. The first goes on with its `linger_ms`, and all it costs is some"
        " CPU.",
    ),
    event(
        "bridge_stopping",
        Level.INFO,
        "cause in_flight left_waiting drain_timeout_s",
        "The bridge reads no more and flushes to Kafka what it holds. `left_waiting` messages had"
        " come and waited for what Kafka has: they were neither carried nor acknowledged, and stay"
        " with the MQTT broker.",
    ),
    event(
        "drain_finished",
        Level.INFO,
        "took_s",
        "All that was held is in Kafka or on disk, and acknowledged to the MQTT broker.",
    ),
    event(
        "drain_timed_out",
        Level.WARNING,
        "unsettled took_s",
        "The budget of the stop ended first. What is unsettled goes to the spool; without one it"
        " stays with the MQTT broker, which sends it again after the next start.",
        "Look at why Kafka did not confirm; raise `shutdown.drain_timeout_s` if it is only slow.",
    ),
    event(
        "bridge_stopped",
        Level.INFO,
        "received received_qos0 spooled_at_start produced dead_lettered duplicates dropped spooled"
        " unsettled residue uptime_s exit_code",
        "The last event: what was received and where it went. `residue` is 0.",
    ),
    event(
        "ops_request_failed",
        Level.ERROR,
        "path error where",
        "A health or metrics answer could not be made; the client got a 500.",
        "Report it: this is a bug of the bridge.",
        repeats_by="path",
    ),
    event(
        "ops_token_refused",
        Level.WARNING,
        "path peer",
        "Somebody asked for the status, or its page, with a token that is not `ops.token`.",
        "Correct the token that is used at `peer`; if nobody knows it, keep the port from it.",
    ),
    event(
        "ops_token_unreadable",
        Level.ERROR,
        "error",
        "`ops.token` could be read at the start, and no longer can: the status is told to nobody.",
        "Put the secret back where `error` says it was looked for; it is read at each request.",
    ),
    event(
        "library_reported",
        Level.WARNING,
        "library text error where",
        "A library logged a warning or an error through Python's own logging.",
        "Report it if it repeats; `where` is the place in the code.",
        repeats_by="library",
    ),
    event(
        "events_suppressed",
        Level.INFO,
        "of by window_s",
        "Repetitions of the event `of` were left out (`suppressed` says how many), and none"
        " followed to carry the count.",
    ),
    event(
        "log_lines_lost",
        Level.WARNING,
        "lost",
        "Standard output, or the journal, was full or closed for a time; so many lines were left"
        " out. Forwarding went on.",
        "Look at what reads the log.",
    ),
)
