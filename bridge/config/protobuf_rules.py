"""Rules of [protobuf]: the message exists, and every path leads to a value that JSON can hold."""

from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec

from bridge.config.extras import missing_extra
from bridge.config.paths import KeyPath
from bridge.config.problems import Problem
from bridge.config.sections import ProtobufSection
from bridge.config.validation_rules import NAME_CHARACTERS_MAX, name_problem

PROTOC = "protoc --include_imports --descriptor_set_out=FILE"
MISSING_PACKAGE = missing_extra("protobuf", "protobuf")


def check_package(path: KeyPath) -> Iterator[Problem]:
    """Yield the problem that a key at this path asks for a package that is not there."""
    if find_spec("google") is None or find_spec("google.protobuf") is None:
        yield Problem(path, MISSING_PACKAGE)


def check_mappings(sections: Mapping[str, ProtobufSection]) -> Iterator[Problem]:
    """Yield what is wrong with mappings whatever their messages are."""
    for table, section in sections.items():
        where: KeyPath = ("protobuf", table, "fields")
        for part in ("metrics", "metadata"):
            paths = getattr(section.fields, part)
            for name in paths if isinstance(paths, dict) else ():
                if problem := name_problem(name, NAME_CHARACTERS_MAX):
                    yield Problem((*where, part, name), f"a name in {part} {problem}")
        if not section.fields.metrics:
            yield Problem(
                (*where, "metrics"),
                "is empty, and a message without a metric is never valid; write a name and a path",
            )


def check_protobuf(name: str, section: ProtobufSection, descriptor_set: bytes) -> Iterator[Problem]:
    """Yield what keeps messages from being read by these paths; the bytes are the file's."""
    path: KeyPath = ("protobuf", name)
    if any(check_package(path)):
        return  # That is said once, of the route or of the table.
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
    for part in ("metrics", "metadata"):
        paths = getattr(fields, part)
        if isinstance(paths, str):
            checks.append(((*where, part), lambda p=paths: schema.map_field(message, p)))  # type: ignore[misc]
            continue
        may_repeat = part == "metadata"
        checks += [
            (
                (*where, part, each),
                lambda p=each_path, r=may_repeat: schema.value_field(message, p, may_repeat=r),  # type: ignore[misc]
            )
            for each, each_path in paths.items()
        ]
    for key, follow in checks:
        try:
            follow()
        except schema.SchemaError as error:
            yield Problem(key, f"{error}", also=((*path, "message"),))
