"""Rules of [protobuf]: the message exists, and every path leads to a value that JSON can hold."""

from collections.abc import Callable, Iterator
from importlib.util import find_spec

from bridge.config.formats import ProtobufSection
from bridge.config.paths import KeyPath
from bridge.config.problems import Problem

MISSING_PACKAGE = (
    "the protobuf package is not installed; install mqtt-kafka-bridge[protobuf], the extra"
)


def check_package(path: KeyPath) -> Iterator[Problem]:
    """Yield the problem that a key at this path asks for a package that is not there."""
    if find_spec("google") is None or find_spec("google.protobuf") is None:
        yield Problem(path, MISSING_PACKAGE)


def check_protobuf(section: ProtobufSection, descriptor_set: bytes) -> Iterator[Problem]:
    """Yield what keeps messages from being read by these paths; the bytes are the file's."""
    path: KeyPath = ("protobuf",)
    missing = list(check_package(path))
    if missing:
        yield from missing
        return
    from bridge.config import protobuf_schema as schema  # noqa: PLC0415 - the package is an extra

    try:
        schema.read_descriptor_set(descriptor_set)
    except schema.SchemaError as error:
        yield Problem((*path, "descriptor_set"), f"{error}")
        return
    try:
        message = schema.find_message(descriptor_set, section.message)
    except schema.SchemaError as error:
        yield Problem((*path, "message"), f"{error}", also=((*path, "descriptor_set"),))
        return
    fields = section.fields
    where: KeyPath = (*path, "fields")
    checks: list[tuple[KeyPath, Callable[[], object]]] = [
        (
            (*where, "timestamp"),
            lambda: schema.timestamp_field(message, fields.timestamp, fields.timestamp_unit),
        )
    ]
    device_id = fields.device_id
    if device_id is not None:
        checks.append(((*where, "device_id"), lambda: schema.device_id_field(message, device_id)))
    for name in ("metrics", "metadata"):
        paths = getattr(fields, name)
        if isinstance(paths, str):
            checks.append(((*where, name), lambda p=paths: schema.map_field(message, p)))  # type: ignore[misc]
            continue
        may_repeat = name == "metadata"
        checks += [
            (
                (*where, name, each),
                lambda p=each_path, r=may_repeat: schema.value_field(message, p, may_repeat=r),  # type: ignore[misc]
            )
            for each, each_path in paths.items()
        ]
    for key, follow in checks:
        try:
            follow()
        except schema.SchemaError as error:
            yield Problem(key, f"{error}", also=((*path, "message"),))
    if not fields.metrics:
        yield Problem(
            (*where, "metrics"),
            "is empty, and a message without a metric is never valid; write a name and a path",
        )
