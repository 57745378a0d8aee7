"""Bytes to packets to session: the MQTT side, pure; time comes in as an argument."""
