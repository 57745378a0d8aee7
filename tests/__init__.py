"""The tests: they mirror bridge/, and drive it from outside with the real brokers."""
