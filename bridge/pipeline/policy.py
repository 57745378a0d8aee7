"""What is judged of a message beyond itself: how many there may be, and layers 3 and 4."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from bridge.config.sections import FlaggedMode, ValidationSection
from bridge.fleet.flagged_copies import FlaggedCopies
from bridge.fleet.registry import Registry
from bridge.kafka.record import Instant
from bridge.pipeline.allowance import Allowance
from bridge.pipeline.identity import Address
from bridge.pipeline.judge import Judge
from bridge.pipeline.verdict import Layer, Said, Telemetry


class Policy(NamedTuple):
    """What is judged beyond the message itself: layers 3 and 4, and how many there may be."""

    judge: Judge
    registry: Registry
    copies: FlaggedCopies
    modes: Mapping[Layer, FlaggedMode]
    """Where a message goes that a layer flags."""
    allowance: Allowance | None = None
    """How much a device may send."""

    @property
    def is_idle(self) -> bool:
        """True while it has nothing to say of any message."""
        return self.allowance is None and not self.judge.has_ranges and not self.registry.is_known

    def ask_all(
        self, verdicts: Sequence[Telemetry], addresses: Sequence[Address], received: Instant
    ) -> list[Said]:
        """Say what there is to say of messages whose time was judged: of each, mostly nothing."""
        device_ids = [each.device_id for each in addresses]
        entries = self.registry.look_up_all(device_ids)
        messages = [each.message for each in verdicts]
        said: list[Said] = [*self.judge.judge_all(messages, device_ids, entries)]
        if self.allowance is not None:
            for place, excess in self.allowance.judge_all(addresses, entries, received, verdicts):
                said[place] = excess
        return said

    @classmethod
    def of(
        cls,
        validation: ValidationSection,
        registry: Registry,
        allowance: Allowance | None = None,
    ) -> "Policy":
        """Make what the configuration says."""
        return cls(
            Judge(validation),
            registry,
            FlaggedCopies(validation.flagged_copy_interval_s),
            {Layer.SEMANTIC: validation.semantic, Layer.BUSINESS: validation.business},
            allowance,
        )
