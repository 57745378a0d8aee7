"""`check --live`: the promise proven against the real brokers, point by point.

Theory of operation. Each file looks at one peer and yields points; `looking.py` puts them in the
order in which a message travels, so that the first point that fails is the first place where data
would be lost. What a peer said is kept apart from what follows of it: `mqtt_link`, `kafka_facts`,
`peer_certificates` and `host` do the talking, `mqtt_points` and `kafka_points` judge and touch
nothing.

The check is harmless on a system in production:

- It has a session of its own, `<client_id>-check-<nonce>`, and removes it. A session that asks for
  the long expiry subscribes to nothing; a session that subscribes expires within a minute. So a
  check that is killed leaves nothing that queues.
- It never connects as `mqtt.client_id`, which would end the connection of a running bridge. With
  `use_username_as_clientid` (mosquitto/production.conf) Mosquitto names the session by the
  certificate or the user name whatever we ask for, and does not say so. So where one of them
  equals `mqtt.client_id` the check does not connect at all without `--exclusive`. Should a fresh
  name meet a session that exists, the check leaves it as it was and says so.
- It never joins the share group: a message dealt to a member that goes away is lost.
- It acknowledges nothing that was meant for the bridge, and produces no record. That an idempotent
  producer is granted its id shows in the statistics of librdkafka, without one.
"""
