"""Every event the bridge can log, as data: one file for each part it speaks of.

A new event is a new entry here, then `python -m bridge.observe.events > docs/log-events.md`.
"""
