"""`dlq stats`: what lies in the dead letter topic, counted from end to end."""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator

from bridge.cli.dead_letters.options import Prepared, prepare, selection_from
from bridge.cli.dead_letters.reading import read_letters
from bridge.config.paths import quoted
from bridge.errors import ExitCode
from bridge.pipeline.dead_letter import IS_RETRYABLE
from bridge.pipeline.decode import decoding_of
from bridge.pipeline.letters.census import HOURS_MAX, Census, Counted, FirmwareReader, TopCount
from bridge.pipeline.letters.selection import Selection
from bridge.pipeline.verdict import Reason

_BATCH = 1_000
_BAR_WIDTH = 30
_HOURS_SHOWN = 48

DESCRIPTION = """\
Count the dead letters by reason, layer, device, firmware (where the payload tells it) and hour of
receipt. The topic is read from end to end; the ends are those it has at the start. Memory is
bounded: where more devices or versions come than fit, the rare ones are forgotten, and it is said
by how much a count may be too low.
"""


def execute(arguments: argparse.Namespace) -> int:
    """Count, and print.

    Raises:
        ConfigError: The configuration is wrong.
        UsageError: A filter cannot be meant.
        UnavailableError: Kafka does not answer, or refuses.
    """
    selection = selection_from(arguments)
    prepared = prepare(arguments)
    census = take_census(prepared, selection)
    if arguments.json:
        shown = _as_json(census, prepared.kafka_topic, arguments.top)
        sys.stdout.write(json.dumps(shown) + "\n")
    else:
        sys.stdout.writelines(
            f"{line}\n" for line in _as_text(census, prepared.kafka_topic, arguments.top)
        )
    return ExitCode.OK


def take_census(prepared: Prepared, selection: Selection) -> Census:
    """Read the topic from end to end."""
    config = prepared.config
    census = Census(FirmwareReader(config.route, decoding_of(config)).read)
    for letter in read_letters(prepared, selection, batch=_BATCH):
        if not letter.is_letter or selection.matches(letter):
            census.add(letter)
    return census


def _as_json(census: Census, kafka_topic: str, top: int) -> dict[str, object]:
    return {
        "kafka_topic": kafka_topic,
        "letters": census.letters,
        "copies": census.copies,
        "copies_suppressed": census.suppressed,
        "replayable": census.replayable,
        "no_dead_letters": census.foreign,
        "first_received_at": census.first or None,
        "last_received_at": census.last or None,
        "by_reason": dict(census.reasons.most_common()),
        "by_layer": dict(census.layers.most_common()),
        "devices": _top_as_json(census.devices, top),
        "firmware": _top_as_json(census.firmware, top),
        "letters_with_firmware": census.with_firmware,
        "by_hour": dict(census.hours(HOURS_MAX)),
    }


def _top_as_json(counted: TopCount, top: int) -> dict[str, object]:
    return {
        "is_exact": counted.is_exact,
        "top": [
            {"name": each.name, "letters": each.count, "letters_at_most": each.at_most}
            for each in counted.top(top)
        ],
    }


def _as_text(census: Census, kafka_topic: str, top: int) -> Iterator[str]:
    where = f"Kafka topic {quoted(kafka_topic)}"
    if census.foreign:
        yield f"{where}: {census.foreign} records are no dead letters of a bridge"
    if not census.letters:
        yield f"{where}: no dead letters"
        return
    yield f"{where}: {census.letters} dead letters, received {census.first} to {census.last}"
    copies = f"{census.copies} are copies of messages that were forwarded too"
    if census.suppressed:
        copies += f" ({census.suppressed} more were not copied)"
    yield f"{copies}; {census.replayable} of the others may have another end in a replay"
    yield from _table(
        "reason", (_reason_row(each) for each in census.reasons.most_common()), census
    )
    yield from _table("layer", ((*each, "") for each in census.layers.most_common()), census)
    yield from _table(_top_title("device", census.devices, top), _rows(census.devices, top), census)
    if census.with_firmware:
        title = _top_title("firmware", census.firmware, top)
        yield from _table(title, _rows(census.firmware, top), census)
    hours = census.hours(_HOURS_SHOWN)
    yield from _table("hour, UTC", ((*each, "") for each in hours), census)


def _reason_row(counted: tuple[str, int]) -> tuple[str, int, str]:
    reason, count = counted
    is_hopeless = reason in set(Reason) and not IS_RETRYABLE[Reason(reason)]
    return reason, count, "a replay cannot mend it" if is_hopeless else ""


def _rows(counted: TopCount, top: int) -> Iterator[tuple[str, int, str]]:
    for each in counted.top(top):
        yield each.name or "(empty)", each.count, _doubt(each)


def _doubt(counted: Counted) -> str:
    return "" if counted.at_most == counted.count else f"at most {counted.at_most}"


def _top_title(title: str, counted: TopCount, top: int) -> str:
    if len(counted) <= top:
        return title
    return f"{title}, the first {top} of {'' if counted.is_exact else 'more than '}{len(counted)}"


def _table(title: str, rows: Iterable[tuple[str, int, str]], census: Census) -> Iterator[str]:
    listed = list(rows)
    width = max(len(name) for name, _, _ in listed)
    yield ""
    yield title
    for name, count, note in listed:
        share = count / census.letters
        bar = "#" * max(1, round(share * _BAR_WIDTH))
        line = f"  {name:<{width}}  {count:>9}  {share:>6.1%}  {bar:<{_BAR_WIDTH}}  {note}"
        yield line.rstrip()
