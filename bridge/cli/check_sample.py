"""`check --sample`: what other rules would have made of the last records, before they are in force.

Two sides are compared. With `--against RUNNING` today's is the [validation] of that file, and the
other that of `--config`; without it [validation] and [shadow] of `--config`.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any, Final

from bridge.config import load
from bridge.config.paths import quoted, quoted_path
from bridge.config.sections import BridgeConfig
from bridge.errors import ExitCode, UsageError
from bridge.kafka.properties import Properties
from bridge.pipeline.decode import decoding_of
from bridge.pipeline.differences import Change, Group, GroupKey
from bridge.pipeline.rule_set import RuleSet
from bridge.pipeline.sampling import Sampling, Side, Source
from bridge.runtime.dead_letter_topic import letter_of
from bridge.runtime.kafka_reading import as_bytes
from bridge.runtime.known_telemetry import read_registry
from bridge.runtime.sample_reader import read_sample

GROUPS_SHOWN: Final = 40
_HEADINGS: Final = ("change", "reason", "device type", "firmware", "readings", "share")


def execute(
    arguments: argparse.Namespace,
    config: BridgeConfig,
    properties: Properties,
    since_us: int | None,
) -> int:
    """Read the sample, judge it by both sides, and print what differs.

    Raises:
        ConfigError: The other configuration is wrong.
        UsageError: There is nothing to compare with.
        UnavailableError: Kafka does not answer, or refuses.
    """
    today, then, names = _sides(arguments, config, properties)
    sampling = Sampling(today, then, routes=config.route, decoding=decoding_of(config))
    sources = []
    for kafka_topic in _topics(arguments.topic, config):
        source = Source(kafka_topic=kafka_topic)
        is_letters = kafka_topic == config.dead_letter.kafka_topic
        for message in read_sample(
            properties, kafka_topic, count=arguments.sample, since_us=since_us
        ):
            if is_letters:
                sampling.add_letter(letter_of(message), source)
            else:
                sampling.add_record(as_bytes(message.value()), source)
        sources.append(source)
    write = _as_json if arguments.json else _as_text
    sys.stdout.writelines(f"{line}\n" for line in write(sampling, sources, names))
    return ExitCode.OK


def _sides(
    arguments: argparse.Namespace, config: BridgeConfig, properties: Properties
) -> tuple[Side, Side, tuple[str, str]]:
    """Give what is compared, and how each is called."""
    registry = read_registry(config, properties)
    rules = RuleSet(config.validation)
    against = arguments.against
    if against is not None:
        running = load(against, environment=os.environ, reads_files=False).config
        is_same = running.registry == config.registry
        known = registry if is_same else read_registry(running, properties)
        today = Side(RuleSet(running.validation), known)
        return today, Side(rules, registry), (str(against), str(arguments.config))
    on_trial = RuleSet.on_trial(config)
    if on_trial is None:
        raise UsageError(
            "--sample has nothing to compare with: write [shadow] into"
            f" {quoted_path(arguments.config)}, or name the configuration in force with"
            " --against FILE"
        )
    return Side(rules, registry), Side(on_trial, registry), ("[validation]", "[shadow]")


def _topics(asked: str | None, config: BridgeConfig) -> Sequence[str]:
    """Name the topics: telemetry of all routes that are judged, then the dead letters."""
    if asked is not None:
        return [asked]
    judged = [each.kafka_topic for each in config.route if each.kind != "opaque"]
    return list(dict.fromkeys([*judged, config.dead_letter.kafka_topic]))


def _as_json(
    sampling: Sampling, sources: Sequence[Source], names: tuple[str, str]
) -> Iterator[str]:
    """Give a line for each source, each group that differs, and the whole."""
    for source in sources:
        yield json.dumps(
            {
                "type": "source",
                "kafka_topic": source.kafka_topic,
                "records": source.records,
                "judged": source.judged,
                "first_received_at": source.first or None,
                "last_received_at": source.last or None,
            }
        )
    differences = sampling.differences
    for key, group in differences.groups():
        line: dict[str, Any] = {"type": "difference", **key._asdict()}
        line["readings"] = group.count
        line["readings_at_most"] = group.count + group.missed_max
        line["examples"] = [
            {"device_id": device_id, "detail": detail}
            for device_id, detail in group.examples.items()
        ]
        yield json.dumps(line)
    yield json.dumps(
        {
            "type": "summary",
            "today": names[0],
            "then": names[1],
            "judged": differences.judged,
            **differences.readings,
            "by_reason": _by_reason(sampling),
        }
    )


def _by_reason(sampling: Sampling) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for (change, reason, _), count in sampling.differences.verdicts.items():
        if count:
            by_change = found.setdefault(reason, {})
            by_change[change] = by_change.get(change, 0) + count
    return found


def _as_text(
    sampling: Sampling, sources: Sequence[Source], names: tuple[str, str]
) -> Iterator[str]:
    differences = sampling.differences
    yield ""
    yield f"sample, judged by {quoted(names[0])} and by {quoted(names[1])}"
    for source in sources:
        received = f", received {source.first} to {source.last}" if source.judged else ""
        yield (
            f"  Kafka topic {quoted(source.kafka_topic)}: {source.records} records,"
            f" {source.judged} of them judged{received}"
        )
    if not differences.judged:
        yield "nothing to judge: no record of telemetry, and no dead letter that a rule decided"
        return
    counts = differences.readings
    yield (
        f"of {differences.judged} readings {counts[Change.NEWLY_FAILS]} fail newly,"
        f" {counts[Change.NEWLY_PASSES]} pass newly, {counts[Change.UNCHANGED]} are unchanged"
    )
    yield from _reasons(_by_reason(sampling))
    groups = differences.groups()
    if groups:
        yield from _groups(groups[:GROUPS_SHOWN], differences.judged)
    if len(groups) > GROUPS_SHOWN:
        yield f"and {len(groups) - GROUPS_SHOWN} groups more; --json gives them all"
    if not differences.is_exact:
        yield "there were too many groups to keep: those that are rare are not all there"


def _reasons(by_reason: dict[str, dict[str, int]]) -> Iterator[str]:
    rows = [("reason", *Change)]
    rows += [
        (reason, *(str(counts.get(change, 0)) for change in Change))
        for reason, counts in sorted(by_reason.items())
        if reason != "none"
    ]
    if len(rows) > 1:
        yield ""
        yield from _aligned(rows, numbers_from=1)


def _groups(groups: Sequence[tuple[GroupKey, Group]], judged: int) -> Iterator[str]:
    rows = [_HEADINGS]
    for key, group in groups:
        share = f"{group.count / judged:.1%}"
        firmware = key.firmware or "-"
        rows.append((key.change, key.reason, key.device_type, firmware, str(group.count), share))
    heading, *lines = _aligned(rows, numbers_from=4)
    yield ""
    yield heading
    for line, (_, group) in zip(lines, groups, strict=True):
        yield line
        for device_id, detail in group.examples.items():
            yield f"    {device_id}: {detail}"


def _aligned(rows: Sequence[Sequence[str]], *, numbers_from: int) -> Iterator[str]:
    """Write columns, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            cell.rjust(width) if index >= numbers_from else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield ("  " + "  ".join(cells)).rstrip()
