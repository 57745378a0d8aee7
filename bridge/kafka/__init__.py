"""Records out, delivery reports in: the Kafka side, pure; no client library here."""
