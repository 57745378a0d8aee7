"""Packages that only some installations need: what is said where one is missing."""

_PROGRAM = "mqtt-kafka-bridge"


def missing_extra(package: str, extra: str) -> str:
    """Say that a package is not there, which extra brings it, and what to type."""
    return (
        f"the {package} package is not installed; it comes with the extra {extra}:"
        f" pip install '{_PROGRAM}[{extra}]'"
    )
