"""The part that judges rules on trial, made where the configuration has some."""

import random

from bridge.config.sections import BridgeConfig
from bridge.fleet.registry import Registry
from bridge.observe.log import EventLog, raised_at
from bridge.pipeline.decode import Decoding
from bridge.pipeline.rule_set import RuleSet
from bridge.pipeline.shadow import Shadow


def make_shadow(
    config: BridgeConfig, registry: Registry, decoding: Decoding, log: EventLog
) -> Shadow | None:
    """Make it; None where there is no `[shadow]`, and then a message costs nothing more."""
    on_trial = RuleSet.on_trial(config)
    if config.shadow is None or on_trial is None:
        return None

    def tell_fault(error: Exception) -> None:
        log.emit("shadow_failed", error=repr(error), where=raised_at(error))

    return Shadow(
        today=RuleSet(config.validation),
        on_trial=on_trial,
        registry=registry,
        decode=decoding.decode,
        sample_ratio=config.shadow.sample_ratio,
        chance=random.random,
        on_fault=tell_fault,
    )
