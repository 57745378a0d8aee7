"""The configuration: what may stand in the file, and how it is read."""
