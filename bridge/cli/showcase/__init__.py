"""What `demo` and `simulate` share: devices that exist only here, and the stage they act on.

`traffic`, `malformed` and `fleet` are pure: the same seed and the same clock give the same bytes.
`publisher` carries them to an MQTT broker. The rest builds the demo: child processes that cannot
outlive it, Kafka in process, the accounting of every message, and the screen.
"""
