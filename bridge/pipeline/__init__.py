"""One message becomes a record: telemetry or a dead letter. Pure functions.

Decisions that bind:

- The order of judgement: a packet the codec refused (`malformed_packet`, `too_large`), whatever
  its topic; the device id in the MQTT topic (`device_id_invalid`, also where no route matches);
  `empty`, `too_large`, `unsupported_format`, `not_decodable`; then layer 2. One reason a letter.
- `empty` is a payload of no bytes; white space alone is `not_decodable`, its bytes kept.
- A timestamp beyond what a calendar can hold is a timestamp still: `timestamp_old` or
  `timestamp_future`. A leap second is rewritten as the second after it, since few parsers take it.
- Layers 3 and 4 (judge.py) never reject: they give flags, each with reason, layer and detail. Layer
  4 is off without a registry, recalls of firmware too, and says nothing until the registry is
  known: no message waits for it.
- A place is compared with its like: a name with a site, coordinates with a circle. Whoever sends
  the other kind, or none, is not judged.
- A letter that lacks part of its payload is never retryable, whatever its reason.
- `dlq.mqtt-topic` and the key are as received, since a replay must find the same route; only what
  people read (`dlq.detail`, the log's fields, the idempotency key) is escaped.
"""
