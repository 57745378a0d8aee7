"""What is acknowledged and not yet in Kafka: the rows on disk, and who must go through them.

`store.py` is the disk (SQLite), `outage.py` decides and touches nothing. The room knows neither
records nor receipts: what a row holds is bytes to it, written and read by `bridge.kafka.rows`.
"""
