"""Facts become names: log events, metrics, health."""
