"""What a message costs, measured against what people write otherwise; see docs/performance.md."""
