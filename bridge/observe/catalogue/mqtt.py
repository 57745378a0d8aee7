"""Events of the MQTT side: connection, session, subscription, protocol."""

from bridge.observe.catalogue.entry import Event, Level, event

EVENTS: tuple[Event, ...] = (
    event(
        "mqtt_connect_failed",
        Level.WARNING,
        "address reason attempt retry_in_s",
        "No Network Connection to the MQTT broker could be made at this address.",
        "Check `mqtt.host`, `mqtt.port`, `mqtt.tls` and whether the MQTT broker runs.",
        repeats_by="reason",
    ),
    event(
        "mqtt_connected",
        Level.INFO,
        "address client_id session_present receive_maximum keep_alive_s session_expiry_s reason",
        "The MQTT broker accepted the connection; `reason` says why a new one was needed.",
    ),
    event(
        "mqtt_connection_refused",
        Level.ERROR,
        "address reason_code reason detail remedy retry_in_s",
        "The MQTT broker answered CONNECT with a refusal.",
        "Do what `remedy` says; the bridge tries again by itself.",
        repeats_by="reason",
    ),
    event(
        "mqtt_version_refused",
        Level.ERROR,
        "address remedy retry_in_s",
        "The MQTT broker does not speak MQTT 5, which the bridge needs.",
        "Use an MQTT broker with MQTT 5, for instance Mosquitto 2.",
    ),
    event(
        "session_resumed",
        Level.INFO,
        "client_id",
        "The MQTT broker kept the session: what came meanwhile is delivered now.",
    ),
    event(
        "session_started",
        Level.INFO,
        "client_id session_expiry_s",
        "The MQTT broker had no session for this client id and made a new one.",
    ),
    event(
        "session_lost",
        Level.ERROR,
        "client_id was_away_s cause",
        "A session that should be there is not: messages published meanwhile did not queue for the"
        " bridge. `cause` is session_lost, session_expired (we were away for longer than the broker"
        " keeps it) or broker_restarted.",
        "Check persistence and session expiry of the MQTT broker.",
        repeats_by="cause",
    ),
    event(
        "session_memory_failed",
        Level.WARNING,
        "path error",
        "What is remembered of the MQTT session could not be read or written; said once. A session"
        " that is lost while the bridge is not running will look like a first start.",
        "Let the bridge write its state directory.",
    ),
    event(
        "broker_dropped_messages",
        Level.ERROR,
        "dropped since total",
        "The MQTT broker dropped messages, by its own count, which is of all its clients: a queue"
        " was full. Their publishers may have got a PUBACK.",
        "Raise the queue limits of the MQTT broker (Mosquitto: max_queued_messages,"
        " max_queued_bytes), or shorten the outages.",
    ),
    event(
        "broker_drop_count_reset",
        Level.INFO,
        "count",
        "The MQTT broker's count of dropped messages begins anew: it was restarted.",
    ),
    event(
        "broker_drops_unreadable",
        Level.INFO,
        "reason",
        "The MQTT broker does not let the bridge read its count of dropped messages, so drops are"
        " not seen.",
        "Allow reading `$SYS/broker/publish/messages/dropped`, if the MQTT broker has it.",
    ),
    event(
        "reading_forbidden_suspected",
        Level.ERROR,
        "filter waited_s remedy",
        "The subscription is granted, but a canary published to this filter did not come back: the"
        " MQTT broker probably forbids reading and delivers nothing. Not ready until one comes"
        " back.",
        "Do what `remedy` says; it recovers by itself.",
        repeats_by="filter",
    ),
    event(
        "reading_recovered",
        Level.INFO,
        "filter forbidden_s",
        "A canary came back through this filter again.",
        repeats_by="filter",
    ),
    event(
        "canary_refused",
        Level.WARNING,
        "filter reason_code reason remedy",
        "The MQTT broker did not take the canary of this filter: whether reading is allowed stays"
        " unknown.",
        "Do what `remedy` says, or set `mqtt.canary_device_id` to nothing.",
        repeats_by="filter",
    ),
    event(
        "session_taken_over",
        Level.ERROR,
        "client_id remedy retry_in_s",
        "Another client connected with the same client id, or probably did: the broker closed"
        " several young connections without a word. The bridge backs off.",
        "Give each instance its own `mqtt.client_id`.",
    ),
    event(
        "mqtt_subscribed",
        Level.INFO,
        "filters qos",
        "The MQTT broker granted every Topic Filter.",
    ),
    event(
        "mqtt_subscription_refused",
        Level.ERROR,
        "filter reason_code reason remedy",
        "The MQTT broker refused the subscription, or granted less than QoS 1.",
        "Do what `remedy` says; the bridge is not ready until all filters are granted.",
        repeats_by="filter",
    ),
    event(
        "mqtt_connection_renewed",
        Level.INFO,
        "",
        "The bridge ended its connection to make it anew with other credentials or certificates;"
        " the session is kept.",
    ),
    event(
        "mqtt_unsubscribed",
        Level.INFO,
        "filters refused",
        "Topic Filters that the configuration names no more were left; those in `refused` the MQTT"
        " broker did not let go. What it had queued for them is still delivered.",
    ),
    event(
        "mqtt_disconnected",
        Level.WARNING,
        "reason reason_code detail unsettled retry_in_s",
        "The Network Connection ended. What was received still goes to Kafka; what is not"
        " acknowledged is sent again after the reconnect.",
        repeats_by="reason",
    ),
    event(
        "mqtt_keep_alive_timed_out",
        Level.WARNING,
        "silent_s",
        "The MQTT broker did not answer a PINGREQ in time; the connection is closed.",
        "Check the network between the bridge and the MQTT broker.",
    ),
    event(
        "mqtt_protocol_violated",
        Level.ERROR,
        "kind reason_code detail retry_in_s",
        "The MQTT broker sent what MQTT 5 forbids; the bridge disconnects and connects again.",
        "Report it to the maker of the MQTT broker; `detail` names the rule.",
        repeats_by="kind",
    ),
    event(
        "mqtt_poison_suspected",
        Level.ERROR,
        "times detail",
        "The protocol was violated several times running and nothing was acknowledged between:"
        " probably one message that comes back after each reconnect.",
        "Look at the queue of this client id in the MQTT broker.",
    ),
    event(
        "mqtt_property_reported",
        Level.WARNING,
        "property asked given consequence",
        "The MQTT broker granted less than was asked, or asks for something: `property` is one of"
        " server_keep_alive, session_expiry_interval, maximum_qos, retain_available,"
        " server_reference, receive_maximum, maximum_packet_size,"
        " wildcard_subscription_available, shared_subscription_available.",
        "Read `consequence`.",
        repeats_by="property",
    ),
    event(
        "mqtt_qos0_received",
        Level.WARNING,
        "mqtt_topic",
        "A message came with QoS 0: it is forwarded, but no bridge can promise it.",
        "Let the devices publish with QoS 1.",
    ),
)
