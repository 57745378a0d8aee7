"""Who speaks next and what goes wrong with it: pure, decided by one seed."""

import random
from datetime import datetime

import msgspec

from bridge.cli.showcase.malformed import WAYS
from bridge.cli.showcase.traffic import MODELS, Device, Kind, Message, message_for

WORDS_BEFORE_SILENCE = 3
DRIFT_S = (20.0, 240.0)
"""Within validation.timestamp_future_max_s: a drifting device is measured, not refused."""


class Shares(msgspec.Struct, frozen=True, kw_only=True):
    """How much of the traffic is special; the first three of messages, the others of devices."""

    malformed: float = 0.01
    duplicate: float = 0.0
    out_of_range: float = 0.0
    drifting: float = 0.0
    silent: float = 0.0


class Fleet:
    """Many devices as one stream of messages.

    Devices take turns; the seed decides who is silent, whose clock drifts, and which message is
    malformed in which way. The ways take turns too, so that a short run shows all of them. A
    device sends the empty message at most once: two would have the same bytes, and nobody could
    tell the second from a copy of the first.
    """

    def __init__(self, *, devices: int, shares: Shares, seed: int) -> None:
        self._chance = random.Random(seed)  # noqa: S311
        self._shares = shares
        self.devices = tuple(self._device(number, seed) for number in range(devices))
        self._sequences = [0] * devices
        self._last_good: list[Message | None] = [None] * devices
        self._been_empty: set[int] = set()
        self._turn = 0
        self._way_turn = 0

    def next_message(self, now: datetime) -> Message:
        """Let the next device speak."""
        device = self._next_device()
        kind = self._next_kind()
        last_good = self._last_good[device.number]
        if kind is Kind.DUPLICATE and last_good is not None:
            return msgspec.structs.replace(last_good, kind=Kind.DUPLICATE)
        if kind in (Kind.DUPLICATE, Kind.GOOD):
            kind = Kind.DRIFTING if device.clock_drift_s else Kind.GOOD
        way = self._next_way(device) if kind is Kind.MALFORMED else ""
        self._sequences[device.number] += 1
        message = message_for(device, self._sequences[device.number], kind, now, way=way)
        if message.expected is None:
            self._last_good[device.number] = message
        return message

    def _device(self, number: int, seed: int) -> Device:
        drifts = self._chance.random() < self._shares.drifting
        drift_s = self._chance.uniform(*DRIFT_S) * self._chance.choice((-1, 1))
        # Device 0 always speaks: a fleet that is all silent would never end a run of N messages.
        silent = number > 0 and self._chance.random() < self._shares.silent
        return Device(
            number=number,
            device_id=f"{MODELS[number % len(MODELS)]}-{number:04d}",
            seed=seed,
            clock_drift_s=round(drift_s, 3) if drifts else 0.0,
            silent=silent,
        )

    def _next_device(self) -> Device:
        for _ in self.devices:
            device = self.devices[self._turn]
            self._turn = (self._turn + 1) % len(self.devices)
            if not device.silent or self._sequences[device.number] < WORDS_BEFORE_SILENCE:
                return device
        raise AssertionError("device 0 is never silent")

    def _next_kind(self) -> Kind:
        dice = self._chance.random()
        for kind, share in (
            (Kind.MALFORMED, self._shares.malformed),
            (Kind.DUPLICATE, self._shares.duplicate),
            (Kind.OUT_OF_RANGE, self._shares.out_of_range),
        ):
            if dice < share:
                return kind
            dice -= share
        return Kind.GOOD

    def _next_way(self, device: Device) -> str:
        ways = tuple(WAYS)
        way = ways[self._way_turn % len(ways)]
        self._way_turn += 1
        if way != "empty":
            return way
        if device.number in self._been_empty:
            return self._next_way(device)
        self._been_empty.add(device.number)
        return way
