"""`dlq replay`: dead letters through today's rules, into Kafka, each once."""

import argparse
import json
import os
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from bridge.cli.dead_letters.options import Prepared, prepare, selection_from
from bridge.cli.dead_letters.progress import progress_of
from bridge.config.paths import quoted
from bridge.errors import ExitCode, UsageError
from bridge.pipeline.decode import decoding_of
from bridge.pipeline.letters.pace import Pace
from bridge.pipeline.letters.rejudging import Rejudging
from bridge.pipeline.letters.selection import LeftOut, Order
from bridge.runtime.dead_letter_topic import DeadLetterTopic
from bridge.runtime.fault_points import arm
from bridge.runtime.known_telemetry import read_known, read_registry
from bridge.runtime.replay_transaction import ReplayTransactions
from bridge.runtime.replaying import Replay

DESCRIPTION = """\
Judge dead letters by today's rules and produce what becomes of them: telemetry records, or dead
letters with dlq.attempt raised. Records, and how far it has come, are one Kafka transaction after
another, so each letter is replayed once, also when it is killed half-way: the same command goes on
from there. It goes up to the end that the topic had when it began; what comes later waits for the
next replay. Each filter has a consumer group of its own. Copies of messages that were forwarded are
left out, and reasons that a replay cannot mend are refused, unless forced.
"""

_LEFT_OUT = {
    LeftOut.FILTER: "other letters, not asked for",
    LeftOut.FOREIGN: "records that are no dead letters of a bridge",
    LeftOut.COPY: "copies of messages that were forwarded (--include-copies)",
    LeftOut.NOT_RETRYABLE: "with reasons that a replay cannot mend (--force)",
    LeftOut.CUT: "of which part of the payload is gone",
    LeftOut.NO_ROUTE: "whose MQTT topic no route of this configuration matches",
    LeftOut.KNOWN: "whose message is in the telemetry topic already",
}


def execute(arguments: argparse.Namespace) -> int:
    """Replay, and print what came of it.

    Raises:
        ConfigError: The configuration is wrong.
        UsageError: A filter cannot be meant, or asks for what a replay cannot mend.
        UnavailableError: Kafka does not answer, or refuses; what was done stays done.
    """
    arm(os.environ)
    order = _order_from(arguments)
    prepared = prepare(arguments)
    group = order.group(client_id=prepared.config.mqtt.client_id, kafka_topic=prepared.kafka_topic)
    topic = DeadLetterTopic(prepared.properties, prepared.kafka_topic, group)
    try:
        replay = _make_replay(arguments, prepared, order, topic, group)
        if not arguments.json:
            _announce(replay, prepared, group)
        return _run(replay, arguments, prepared, group)
    finally:
        topic.close()


def _order_from(arguments: argparse.Namespace) -> Order:
    order = Order(
        selection=selection_from(arguments),
        includes_copies=arguments.include_copies,
        is_forced=arguments.force,
    )
    hopeless = order.hopeless()
    if hopeless and not order.is_forced:
        named = ", ".join(hopeless)
        raise UsageError(
            f"--reason {named}: the payload itself is wrong, so a replay ends in the same dead"
            " letter; where the rules that judge it have changed, add --force"
        )
    return order


def _make_replay(
    arguments: argparse.Namespace,
    prepared: Prepared,
    order: Order,
    topic: DeadLetterTopic,
    group: str,
) -> Replay:
    config, properties = prepared.config, prepared.properties
    rejudging = Rejudging(
        config,
        decoding=decoding_of(config),
        registry=read_registry(config, properties),
        entropy=os.urandom,
        window=read_known(config, properties),
    )
    transactions = None
    if not arguments.dry_run:
        transactions = ReplayTransactions(properties, group)
        transactions.open()
    return Replay(
        topic,
        order,
        rejudging,
        transactions=transactions,
        pace=Pace(None if arguments.dry_run else arguments.rate),
        limit=arguments.limit,
        pause=threading.Event().wait,
    )


def _run(replay: Replay, arguments: argparse.Namespace, prepared: Prepared, group: str) -> int:
    is_interrupted = False
    title = "judging" if arguments.dry_run else "replaying"
    with progress_of(title, replay.plan.total, "read") as show:
        show(replay.done, "")
        try:
            replay.run(lambda: show(replay.done, f"{replay.tally.judged} replayed"))
        except KeyboardInterrupt:
            is_interrupted = True
    if arguments.json:
        sys.stdout.write(json.dumps(_as_json(replay, prepared, group, arguments)) + "\n")
    else:
        lines = _report(replay, is_dry_run=arguments.dry_run, is_interrupted=is_interrupted)
        sys.stdout.writelines(f"{line}\n" for line in lines)
    if is_interrupted:
        raise KeyboardInterrupt
    return ExitCode.OK


def _announce(replay: Replay, prepared: Prepared, group: str) -> None:
    plan = replay.plan
    began = datetime.fromtimestamp(plan.began_us / 1e6, UTC)
    what = f"{plan.total} records to read"
    if not plan.total:
        what = "no record has come since the last replay of this filter"
    elif plan.is_resumed:
        what = (
            f"going on with the replay that began {began:%Y-%m-%dT%H:%M:%SZ}:"
            f" {plan.done} of {plan.total} records are read"
        )
    sys.stdout.write(
        f"Kafka topic {quoted(prepared.kafka_topic)}: {what}\nconsumer group {group}\n"
    )
    sys.stdout.flush()


def _report(replay: Replay, *, is_dry_run: bool, is_interrupted: bool) -> Iterator[str]:
    tally, would = replay.tally, "would be " if is_dry_run else ""
    yield f"read            {tally.read}"
    yield f"replayed        {tally.replayed}"
    for kafka_topic, number in sorted(tally.records.items()):
        flagged = f", {tally.flagged} of all flagged" if tally.flagged else ""
        yield f"  {would}telemetry records in {quoted(kafka_topic)}: {number}{flagged}"
    yield f"failed again    {tally.failed}"
    for reason, number in tally.letters.most_common():
        yield f"  {would}dead letters {reason}: {number}, the first: {tally.details[reason]}"
    if tally.copies:
        yield f"  {would}dead letters that are copies, since flagged still: {tally.copies}"
    yield f"left as it was  {tally.left_out.total()}"
    for why, number in tally.left_out.most_common():
        yield f"  {number} {_LEFT_OUT[why]}"
    if is_dry_run:
        yield "nothing was written: --dry-run"
    elif is_interrupted:
        yield "stopped; the same command goes on from here"
    elif not replay.is_over:
        yield "the limit is reached; the same command goes on from here"


def _as_json(
    replay: Replay, prepared: Prepared, group: str, arguments: argparse.Namespace
) -> dict[str, Any]:
    tally, plan = replay.tally, replay.plan
    return {
        "kafka_topic": prepared.kafka_topic,
        "consumer_group": group,
        "dry_run": arguments.dry_run,
        "resumed": plan.is_resumed,
        "complete": replay.is_over,
        "records_total": plan.total,
        "records_done": replay.done,
        "read": tally.read,
        "replayed": tally.replayed,
        "failed_again": tally.failed,
        "telemetry_records": dict(tally.records),
        "flagged": tally.flagged,
        "dead_letters": dict(tally.letters),
        "copies": tally.copies,
        "left_out": {why.value: number for why, number in tally.left_out.items()},
    }
