"""The parts of `dlq`: one file for stats, show and replay, and what they share."""
