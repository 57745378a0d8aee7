"""Dead letters read back: what each says, which are meant, what today's rules make of them. Pure.

Decisions that bind:

- A letter is judged as its message came: the same MQTT topic, Content Type and User Properties, at
  its own time of receipt. Two things are of today: the rules, and whether a timestamp is still in
  the future, since its time may have come. No limit of messages a second counts in a replay.
- The idempotency key of a letter stays that of its message, so that what is replayed and what the
  device sends again know each other.
- A letter that lacks part of its payload is never replayed, not even where it is forced: what is
  left of it may decode, and would be a reading that no device ever made.
- A letter whose MQTT topic no route of this configuration matches is left where it is: several
  bridges may share one dead letter topic, and it is for another one to replay.
- How far a replay has come is the offset its group has committed, and up to where it goes stands
  beside that offset. So a replay that was killed goes on to the end that it had, and what came
  since waits for the next one.
"""
