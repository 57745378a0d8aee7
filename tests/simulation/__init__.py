"""The real core in a world of doubles: whatever happens there is drawn from one seed.

Theory of operation. `World` owns a clock that jumps from event to event and four peers: an MQTT
broker that speaks bytes, a Kafka cluster, a disk and the network between them. In the middle runs
one `Process`: the bridge's own Session, AckLedger, Flow, Duplicates, Outbox, Outage, Spooling and
Traffic, joined as `bridge.runtime.parts` joins them. A crash throws the process away and keeps what
a crash keeps. The oracle looks at every PUBACK when it is written, at the conservation equation and
at the bounds after each event, and at the end, when all peers are well again, at everything.

    python -m tests.simulation SEED --trace      what happened in one run
"""
