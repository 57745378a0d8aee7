"""Which dead letters are meant, and why a replay leaves one out."""

import enum
from hashlib import blake2b
from typing import Final

import msgspec

from bridge.pipeline.dead_letter import IS_RETRYABLE, SAID_BY_LETTER
from bridge.pipeline.letters.letter import Letter
from bridge.pipeline.verdict import Reason

GROUP_PREFIX: Final = "mqtt-kafka-bridge-replay-"
"""Of the consumer group and the transactional id of each replay: ACLs name it once for all."""
_DIGEST_BYTES: Final = 8


class LeftOut(enum.StrEnum):
    """Why a replay leaves a letter where it is."""

    FILTER = "filter"
    FOREIGN = "foreign"
    COPY = "copy"
    NOT_RETRYABLE = "not_retryable"
    CUT = "payload_cut"
    NO_ROUTE = "no_route"
    KNOWN = "known_already"


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """What the operator asked for; empty means all."""

    reasons: frozenset[str] = frozenset()
    devices: frozenset[str] = frozenset()
    since_us: int | None = None
    """Of the time of receipt; the first that counts."""
    until_us: int | None = None
    """The first that counts no more."""
    dlq_id: str | None = None

    def matches(self, letter: Letter) -> bool:
        """Tell whether a letter is meant."""
        received_us = letter.received.unix_us
        return (
            (not self.reasons or letter.reason in self.reasons)
            and (not self.devices or letter.device_id in self.devices)
            and (self.since_us is None or received_us >= self.since_us)
            and (self.until_us is None or received_us < self.until_us)
            and (self.dlq_id is None or letter.dlq_id == self.dlq_id)
        )


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What a replay is to do: which letters, and whether copies and hopeless ones too."""

    selection: Selection
    includes_copies: bool = False
    is_forced: bool = False

    def leaves_out(self, letter: Letter) -> LeftOut | None:
        """Say why a letter is not to be judged anew; None where it is."""
        if not letter.is_letter:
            return LeftOut.FOREIGN
        if not self.selection.matches(letter):
            return LeftOut.FILTER
        if letter.is_copy and not self.includes_copies:
            return LeftOut.COPY
        if not letter.is_whole:
            return LeftOut.CUT
        if not letter.is_retryable and not self.is_forced:
            return LeftOut.NOT_RETRYABLE
        return None

    def hopeless(self) -> list[Reason]:
        """List the reasons asked for that a replay cannot mend."""
        return [
            each
            for each in Reason
            if each.value in self.selection.reasons and not IS_RETRYABLE[each]
        ]

    def group(self, *, client_id: str, kafka_topic: str) -> str:
        """Name the consumer group: the same order to the same bridge goes on where it was.

        The client id is part of it, because each bridge replays what its own routes match.
        """
        selection = self.selection
        # Force that changes nothing must not make the same order another one.
        has_force = self.is_forced and bool(
            self.hopeless() or not selection.reasons or selection.reasons & SAID_BY_LETTER
        )
        order = [
            client_id,
            kafka_topic,
            sorted(selection.reasons),
            sorted(selection.devices),
            selection.since_us,
            selection.until_us,
            self.includes_copies,
            has_force,
        ]
        digest = blake2b(msgspec.json.encode(order), digest_size=_DIGEST_BYTES)
        return GROUP_PREFIX + digest.hexdigest()
