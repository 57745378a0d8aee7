"""How `explain` tells what the rules on trial say of a message, in the words of the metrics."""

import os
from collections.abc import Iterator

import msgspec

from bridge.cli.telling import Known, row
from bridge.config.sections import BridgeConfig
from bridge.fleet.registry import Registry
from bridge.kafka.record import Instant
from bridge.mqtt.packets import Inbound
from bridge.pipeline.decode import decoding_of
from bridge.pipeline.flow import Flow
from bridge.pipeline.policy import Policy
from bridge.pipeline.rule_set import RuleSet
from bridge.pipeline.shadow import Shadow
from bridge.pipeline.stages import Stages


def tell_shadow(
    packet: Inbound, config: BridgeConfig, received: Instant, known: Known
) -> Iterator[str]:
    """Give a line for each reason that `[shadow]` would change; none where there is no shadow.

    The message takes the same way as in a running bridge, with every flag forwarded, so that a
    flag is no letter of one reason only.
    """
    on_trial = RuleSet.on_trial(config)
    if on_trial is None:
        return
    registry = known.registry or Registry()
    decode = decoding_of(config).decode
    faults: list[Exception] = []
    shadow = Shadow(
        today=RuleSet(config.validation),
        on_trial=on_trial,
        registry=registry,
        decode=decode,
        sample_ratio=1.0,
        chance=float,
        on_fault=faults.append,
    )
    validation = msgspec.structs.replace(config.validation, semantic="forward", business="forward")
    flow = Flow(
        routes=config.route,
        dead_letter_topic=config.dead_letter.kafka_topic,
        validation=validation,
        entropy=os.urandom,
        policy=Policy.of(validation, registry),
        stages=Stages(decode=decode),
        shadow=shadow,
    )
    flow.process([packet], received)
    if faults:
        raise faults[0]
    yield ""
    differences = shadow.differences
    if not differences.judged:
        yield row("shadow", "not judged: what was said is not for the rules of [shadow] to change")
    elif not differences.groups():
        yield row("shadow", "unchanged")
    for key, group in differences.groups():
        number = f"{group.count} readings, " if group.count > 1 else ""
        for device_id, detail in group.examples.items():
            text = f"{key.change}: {key.reason}: {number}device {device_id}: {detail}"
            yield row("shadow", text)
            number = ""
