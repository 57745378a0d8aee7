"""The harness: real brokers, real devices and the real bridge, as processes under our hand."""
