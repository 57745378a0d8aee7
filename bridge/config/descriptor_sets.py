"""The FileDescriptorSets that [protobuf] names: read with a bound, and checked with what is asked.

Needs the `protobuf` package only where the configuration has such a table.
"""

from collections.abc import Iterator
from pathlib import Path

from bridge.config.paths import key_text, quoted_path
from bridge.config.problems import Problem
from bridge.config.protobuf_rules import PROTOC, check_protobuf
from bridge.config.regular_files import open_regular
from bridge.config.sections import BridgeConfig, ProtobufSection
from bridge.errors import ConfigError

DESCRIPTOR_SET_BYTES_MAX = 16_777_216
"""Far more than describes the messages of any fleet; a wrong path such as /dev/zero ends here."""


def check(config: BridgeConfig) -> Iterator[Problem]:
    """Yield what is wrong with the files, and with the mappings in the light of them."""
    for name, section in config.protobuf.items():
        yield from _judge(name, section, _read(section))


def read_descriptor_sets(config: BridgeConfig) -> dict[str, bytes]:
    """Read each file, by the name of its table, for whoever decodes by it.

    Raises:
        ConfigError: it changed since the configuration was checked, or nobody looked at it then.
    """
    contents = {name: _read(section) for name, section in config.protobuf.items()}
    problems = [
        f"{key_text(problem.path)}: {problem.text}"
        for name, content in contents.items()
        for problem in _judge(name, config.protobuf[name], content)
    ]
    if problems:
        raise ConfigError(problems)
    return {name: content for name, content in contents.items() if isinstance(content, bytes)}


def _judge(name: str, section: ProtobufSection, content: bytes | str) -> Iterator[Problem]:
    if isinstance(content, str):
        yield Problem(("protobuf", name, "descriptor_set"), content)
    else:
        yield from check_protobuf(name, section, content)


def _read(section: ProtobufSection) -> bytes | str:
    """Give the file's bytes, or the text that says why there are none."""
    where = f"file {quoted_path(section.descriptor_set)}"
    try:
        with open_regular(Path(section.descriptor_set)) as file:
            content = file.read(DESCRIPTOR_SET_BYTES_MAX + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "its name is no path"
        return f"{where} could not be read: {reason}; {PROTOC} writes it"
    if len(content) > DESCRIPTOR_SET_BYTES_MAX:
        return f"{where} is longer than {DESCRIPTOR_SET_BYTES_MAX} bytes; is it the right file?"
    return content
