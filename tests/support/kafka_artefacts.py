"""The real Kafka without Docker: its jars from Maven Central, fetched once into .cache/kafka."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

KAFKA_VERSION: Final = "4.3.1"
_LOG4J_VERSION: Final = "2.25.1"
_REPOSITORY: Final = Path(__file__).resolve().parents[2]
CACHE: Final = _REPOSITORY / ".cache" / "kafka" / KAFKA_VERSION
_FETCH_TIMEOUT_S: Final = 600

_POM: Final = """\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>mqtt-kafka-bridge</groupId>
  <artifactId>kafka-for-tests</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
{dependencies}
  </dependencies>
</project>
"""
_DEPENDENCY: Final = (
    "    <dependency><groupId>{}</groupId><artifactId>{}</artifactId>"
    "<version>{}</version></dependency>"
)
_ARTEFACTS: Final = (
    ("org.apache.kafka", "kafka_2.13", KAFKA_VERSION),
    ("org.apache.kafka", "kafka-tools", KAFKA_VERSION),
    ("org.apache.logging.log4j", "log4j-slf4j-impl", _LOG4J_VERSION),
)


class KafkaMissingError(RuntimeError):
    """No Kafka can be had here; the message says what is missing."""


def is_fetched() -> bool:
    """Tell whether the jars are complete in the cache."""
    return (CACHE / "complete").exists()


def missing_tools() -> list[str]:
    """Name the programs without which Kafka cannot be fetched or started."""
    needed = ["java"] if is_fetched() else ["java", "mvn"]
    return [name for name in needed if shutil.which(name) is None]


def fetch() -> Path:
    """Return the directory of the jars; the first time Maven copies them there (some 10 s).

    Raises:
        KafkaMissingError: Java or Maven is not installed, or the copy failed.
    """
    libs = CACHE / "libs"
    if missing := missing_tools():
        raise KafkaMissingError(f"{' and '.join(missing)}: not installed (Java 17 and Maven)")
    if is_fetched():
        return libs
    # Two runs at once each make their own copy; the first to rename wins.
    making = CACHE.with_name(f"{KAFKA_VERSION}.{os.getpid()}")
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(parents=True)
    dependencies = "\n".join(_DEPENDENCY.format(*artefact) for artefact in _ARTEFACTS)
    (making / "pom.xml").write_text(_POM.format(dependencies=dependencies), encoding="utf-8")
    command = ["mvn", "-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=libs"]
    finished = subprocess.run(
        command, cwd=making, capture_output=True, text=True, check=False, timeout=_FETCH_TIMEOUT_S
    )
    if finished.returncode != 0:
        shutil.rmtree(making, ignore_errors=True)
        tail = (finished.stdout + finished.stderr)[-1500:]
        raise KafkaMissingError(f"maven could not copy Kafka {KAFKA_VERSION}:\n{tail}")
    (making / "complete").touch()
    try:
        making.rename(CACHE)
    except OSError:
        shutil.rmtree(making, ignore_errors=True)
    return libs


if __name__ == "__main__":
    try:
        fetch()
    except KafkaMissingError as error:
        sys.exit(str(error))
