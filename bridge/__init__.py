"""mqtt-kafka-bridge: telemetry from MQTT to Kafka, acknowledged only when it is safe.

The promise: every QoS 1 message that the MQTT broker hands to the bridge ends in exactly one
place: a telemetry record, a dead letter, or a counted duplicate. The broker gets its PUBACK only
after Kafka has confirmed that record (`acks=all`, idempotent producer), or the record is on disk in
the spool. Anything else stays unacknowledged, so the MQTT broker still holds it; records of one
device keep their order.

The way of a message, one noun a room:

    packet          mqtt/session         bytes become PUBLISH packets, each owed a receipt
    telemetry       pipeline/flow        decoded, validated: accepted, rejected or known already
    record          pipeline/route       for the telemetry topic; pipeline/dead_letter for the other
    delivery report kafka/outbox         what Kafka said of it; runtime/kafka_producer asks
    row             runtime/spooling     the detour over the disk, where Kafka takes nothing for now
    receipt         mqtt/ack_ledger      settled; released in the order the PUBLISHes came
    PUBACK          mqtt/session         joined, one write for all that a batch released

`runtime` (sockets, threads, clocks, signals) and `cli` do the I/O, but for the disk of `spool` and
the lines of `observe`; in all other rooms `now` is an argument. docs/architecture.md walks through
the rooms; tests/tidy holds who may import whom.
"""

__version__ = "0.1.0"
