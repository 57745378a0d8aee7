"""One message becomes a record: telemetry or a dead letter. Pure functions."""
