"""Events of the Kafka side: the cluster, the topics, the records, the producer."""

from bridge.observe.catalogue.entry import Event, Level, event

EVENTS: tuple[Event, ...] = (
    event(
        "kafka_unreachable",
        Level.ERROR,
        "bootstrap_servers error in_flight",
        "The Kafka cluster does not answer; what comes goes to the spool or waits, and nothing is"
        " lost: `outage_budget_low` says when that would end.",
        "Check `kafka.bootstrap_servers`, credentials and whether the cluster runs.",
    ),
    event(
        "kafka_recovered",
        Level.INFO,
        "bootstrap_servers away_s",
        "The Kafka cluster answers again.",
    ),
    event(
        "kafka_topic_held",
        Level.ERROR,
        "kafka_topic error remedy",
        "Kafka refuses this topic; its records wait, in order, and after `spool.after_s` go to the"
        " spool. Without a spool the PUBACKs behind them wait too.",
        "Do what `remedy` says; it recovers by itself.",
        repeats_by="kafka_topic",
    ),
    event(
        "kafka_topic_recovered",
        Level.INFO,
        "kafka_topic held_s",
        "Kafka takes records for this topic again.",
        repeats_by="kafka_topic",
    ),
    event(
        "kafka_tail_read",
        Level.INFO,
        "purpose keys took_s",
        "The ends of the partitions were read: what Kafka already has is known now. `purpose`:"
        " window (all that the dedup window should hold), checkpoint (what the journal does not"
        " know), rest (partitions that had no leader before) or rebuild (what a replaced producer"
        " had under way).",
    ),
    event(
        "kafka_partition_without_leader",
        Level.WARNING,
        "kafka_topic partitions",
        "These partitions have no leader, so what they hold cannot be read yet. The devices that"
        " write there take the detour over the disk until it can; all others go on.",
        "Bring the brokers back that hold their replicas.",
        repeats_by="kafka_topic",
    ),
    event(
        "kafka_partition_shrunk",
        Level.WARNING,
        "kafka_topic partitions",
        "Partitions end before an offset that the bridge has seen: the topic was made anew, or the"
        " cluster has lost confirmed records. At a start the journal then counts for nothing and"
        " the whole dedup window is read.",
        "If nobody deleted the topic, look for an unclean leader election in the Kafka cluster.",
        repeats_by="kafka_topic",
    ),
    event(
        "window_journal_read",
        Level.INFO,
        "keys has_checkpoint is_cut took_s",
        "The journal of the dedup window was read. Without a checkpoint the whole window is read"
        " from Kafka; `is_cut` says that its end was torn, as after a power failure.",
    ),
    event(
        "window_journal_ignored",
        Level.WARNING,
        "path error",
        "A file of the journal of the dedup window is not used: the start reads more of Kafka"
        " instead. It is left as it is if it has another format or belongs to another client id.",
        "Delete the file if it belongs to nobody.",
    ),
    event(
        "window_journal_failed",
        Level.WARNING,
        "path error",
        "The journal of the dedup window cannot be written and is given up until the next start,"
        " which reads more of Kafka and takes longer. Nothing else depends on it.",
        "See that the state directory has room and may be written.",
    ),
    event(
        "kafka_tail_unavailable",
        Level.WARNING,
        "purpose error retry_in_s",
        "The ends of the partitions cannot be read at present. Until then nothing is produced,"
        " unless `purpose` is `rest`: then rows of the spool go on, and wait for being looked up.",
        "Check the Kafka cluster.",
        repeats_by="purpose",
    ),
    event(
        "deduplication_not_durable",
        Level.WARNING,
        "error remedy",
        "The bridge may not read the topics that it writes, so after a restart it does not know"
        " what Kafka has: the promise is at least once.",
        "Grant READ on the Kafka topics of all routes and of the dead letters.",
    ),
    event(
        "kafka_batch_refused",
        Level.WARNING,
        "kafka_topic error run_bytes_max",
        "Kafka refused a whole batch for its size or for one record in it; the topic now gets runs"
        " of at most so many bytes, which grow again while they are taken.",
        "Set `max.message.bytes` of the topic to at least 1,048,588, Kafka's default; smaller"
        " batches cost throughput.",
        repeats_by="kafka_topic",
    ),
    event(
        "kafka_record_refused",
        Level.WARNING,
        "kafka_topic error device_id dlq_id value_bytes",
        "Kafka will never take this record; it becomes a dead letter `kafka_refused`.",
        "Compare the record with `max.message.bytes` and the checks of the topic.",
        repeats_by="error",
    ),
    event(
        "kafka_record_produced_again",
        Level.WARNING,
        "count",
        "Kafka did not take records that it may take the next time; they are produced again.",
    ),
    event(
        "kafka_record_reordered",
        Level.WARNING,
        "count",
        "Kafka refused records once while newer ones of the same devices were taken: order is"
        " broken there, nothing is lost.",
    ),
    event(
        "kafka_records_may_be_doubled",
        Level.WARNING,
        "reason records_max",
        "librdkafka numbered anew what it has (an epoch bump), after an error that it recovered"
        " from by itself, as when a broker comes back. Kafka does not recognise then what it had"
        " taken already but not answered for: at most so many records are there twice, the later"
        " copy behind newer ones perhaps, and with the same `idempotency-key`. Nothing is lost."
        " After a record that Kafka refused (`message sequence gap`) it is told only where another"
        " answer is missing, or was since all under way was last confirmed.",
        "See what happened to the brokers just before. Consumers drop what has a key they know."
        " `kafka.requests_in_flight_max = 1` excludes `skipped sequence numbers`, at a"
        " price: docs/guarantees.md.",
    ),
    event(
        "kafka_producer_rebuilt",
        Level.WARNING,
        "cause error remedy unsettled rebuilds",
        "The producer was beyond repair, or silent while Kafka answers, and is replaced; the ends"
        " of the partitions are read first, and what is not there is produced again in order.",
        "Look at the Kafka cluster if it repeats.",
        repeats_by="cause",
    ),
    event(
        "gap_record_held",
        Level.WARNING,
        "kafka_topic error held",
        "Kafka does not take the gap records; they wait, nothing else does, and of more than 256"
        " the oldest go. Said once, until one is taken.",
        "Create the topic of `gaps.kafka_topic`, or grant WRITE on it.",
        repeats_by="error",
    ),
    event(
        "kafka_answers_missing",
        Level.WARNING,
        "records waited_s",
        "The bridge stopped while Kafka had not answered for these records, each of them in the"
        " spool or not acknowledged. A broker that hangs may take them later; the next start waits"
        " until the ends of the partitions have stood still for `kafka.quiet_s`, and looks there.",
        "If Kafka hangs for longer than that, let it end before the bridge is started again.",
    ),
    event(
        "kafka_client_reported",
        Level.WARNING,
        "facility detail",
        "librdkafka gave up with a fatal error (`_FATAL`), or cannot be built anew since a file of"
        " its configuration cannot be read (`_INVALID_ARG`). The bridge tries again.",
        repeats_by="facility",
    ),
)
