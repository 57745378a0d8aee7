"""The keys of what is known already, at some 25 bytes a key.

A million keys in plain Python sets take about 100 MB. Here a key lies in one of 65,536 strings:
some of it is of a digest of device and id, the rest of the digest of the content, so that one
look-up answers both questions: is this very message known, and is another one known under the same
id. Measured with a million keys: 1.3 us to admit one, 0.5 us while they fit the caches of a core.

A device whose clock stands still says ever other things under one id. A string holds so many of
them (`CROWD`); the rest lie where the digest of the whole key sends them, so that no look-up walks
over what one device has said.

A compact key has 16 bytes, 8 for each. The first two are not kept: they go into the digest that
chooses the string, here as there, and 65,536 strings say as much.

Which string it is says Python's own hash of the digest: it has a secret of the process, and the
digest has none, so whoever chooses ids could choose 16,000 of one string (571 us to note the next,
measured). Nothing outlives the process that depends on it.
"""

import enum
from array import array
from collections import deque
from collections.abc import Sequence
from hashlib import blake2b
from typing import Final

HALF_BYTES: Final = 8
KEY_BYTES: Final = 2 * HALF_BYTES
_LEFT_OUT_BYTES: Final = 2
_KEPT: Final = slice(_LEFT_OUT_BYTES, KEY_BYTES)
_KEPT_NAME: Final = slice(_LEFT_OUT_BYTES, HALF_BYTES)
_KEPT_NAME_BYTES: Final = HALF_BYTES - _LEFT_OUT_BYTES
_KEPT_BYTES: Final = KEY_BYTES - _LEFT_OUT_BYTES
BATCH_S: Final = 1.0
CROWD: Final = 32
"""Keys of one device and id that lie in one bucket."""
_CROWD_BYTES: Final = CROWD * _KEPT_BYTES
BUCKETS: Final = 1 << 16
_FORGOTTEN: Final = bytes(_KEPT_BYTES)


class Kind(enum.Enum):
    """Under which Kafka topic a key is known: a dead letter is not known as telemetry."""

    TELEMETRY = b"telemetry"
    DEAD_LETTER = b"dead-letter"
    COPY = b"copy"
    """A copy among the dead letters, of a message that is telemetry: it is known as no letter."""

    def __init__(self, person: bytes) -> None:
        # An attribute, not a table: the hash of a member is Python, 0.15 us a message.
        self.blank = blake2b(digest_size=HALF_BYTES, person=person)


class Knowledge(enum.Enum):
    """What is known of a key."""

    NEW = enum.auto()
    OTHER_CONTENT = enum.auto()
    """Device and id are known, with another content: a second reading."""
    SAME = enum.auto()
    """The whole key is known: a duplicate."""
    UNDER_WAY = enum.auto()
    """The whole key is on its way to Kafka: a duplicate that may not be acknowledged yet."""


_NEW: Final = Knowledge.NEW
_SAME: Final = Knowledge.SAME


def compact(idempotency_key: bytes, kind: Kind) -> bytes:
    """Reduce an `idempotency-key` header, `<device_id>:<id>:<digest>`, to what the window keeps.

    Raises:
        ValueError: The digest is not 16 hexadecimal characters.
    """
    name, colon, digest = idempotency_key.rpartition(b":")
    content = bytes.fromhex(digest.decode("ascii"))
    if len(content) != HALF_BYTES or not colon:
        raise ValueError(f"{len(idempotency_key)} bytes are no idempotency key of ours")
    return compact_parts(name, content, kind)


def compact_copy(idempotency_key: bytes, reason: bytes) -> bytes:
    """Do the same for a copy of a flagged message: there is one for each reason.

    Raises:
        ValueError: As `compact`.
    """
    name, colon, digest = idempotency_key.rpartition(b":")
    return compact(name + b"\0" + reason + colon + digest, Kind.COPY)


def compact_parts(name: bytes, content: bytes, kind: Kind) -> bytes:
    """The same from `<device_id>:<id>` and the digest of the content.

    Without an id the content takes its place: what names nothing is known by its content alone, and
    a device that sends a million of it does not fill one bucket.
    """
    digest = kind.blank.copy()
    digest.update(name)
    if name.endswith(b":"):
        digest.update(content)
    return digest.digest() + content


class DedupWindow:
    """The keys of the last `ttl_s` seconds, at most `keys_max` of them, oldest out first.

    Never fewer than `keys_min` are kept, however old: what the MQTT broker may send again after a
    long stop is bounded by its window, not by time.
    """

    def __init__(
        self, *, ttl_s: float, keys_max: int, keys_min: int, buckets: int = BUCKETS
    ) -> None:
        """`buckets` is a power of 2, and no more than they are; a test may have few."""
        self._mask = buckets - 1
        self._ttl_s = ttl_s
        self._keys_max = max(keys_max, keys_min)
        self._keys_min = keys_min
        self._buckets: list[bytes] = [b""] * buckets
        self._batches: deque[tuple[float, array[int]]] = deque()
        """When each batch was noted, and the buckets of its keys in their order."""
        self._taken = 0
        """How many keys of the oldest batch have gone already."""
        self._count = 0
        self._crowded: dict[bytes, float] = {}
        """The digests of device and id of which keys lie elsewhere, and when the last one came;
        the oldest first."""

    def __len__(self) -> int:
        """Count the keys."""
        return self._count

    @property
    def deepest(self) -> int:
        """Count the keys of the fullest bucket: what one look-up walks over at most."""
        return max(map(len, self._buckets)) // _KEPT_BYTES

    def ask(self, key: bytes) -> Knowledge:
        """Look a compact key up; the answer is never `UNDER_WAY` here."""
        name = key[:HALF_BYTES]
        return self._find(self._buckets[hash(name) & self._mask], key, name)

    def begin(self, at_s: float) -> None:
        """Note when the keys of the next `admit` come, and let go of what is too old or too many.

        Keys of one second share one entry in the order, so that a slow trickle costs no more a
        key than a flood.
        """
        batches = self._batches
        if not batches or at_s - batches[-1][0] >= BATCH_S:
            if batches and not batches[-1][1]:
                batches.pop()  # Of a second without a key: traffic that has none never ends.
            batches.append((at_s, array("H")))
        if self._count > self._keys_min:
            self._let_go(at_s)

    def admit(self, key: bytes) -> Knowledge:
        """Look a compact key up and keep it, unless it is known already; after `begin`."""
        buckets = self._buckets
        name = key[:HALF_BYTES]
        bucket = hash(name) & self._mask
        blob = buckets[bucket]
        knowledge = self._find(blob, key, name) if blob or self._crowded else _NEW
        if knowledge is not _SAME:
            if len(blob) >= _CROWD_BYTES:
                bucket = self._bucket_of(key, bucket)
                blob = buckets[bucket]
            buckets[bucket] = blob + key[_KEPT]
            self._batches[-1][1].append(bucket)
            self._count += 1
        return knowledge

    def admit_all(self, keys: Sequence[bytes]) -> list[Knowledge]:
        """Do the same for each of them, in order."""
        buckets, mask, order = self._buckets, self._mask, self._batches[-1][1]
        crowded = self._crowded
        found: list[Knowledge] = []
        usual = 0
        for key in keys:
            name = key[:HALF_BYTES]
            bucket = hash(name) & mask
            blob, kept = buckets[bucket], key[_KEPT]
            if blob.find(kept[:_KEPT_NAME_BYTES]) < 0 and name not in crowded:
                buckets[bucket] = blob + kept  # As with nearly all: without a call.
                order.append(bucket)
                found.append(_NEW)
                usual += 1
            else:
                found.append(self.admit(key))
        self._count += usual
        return found

    def take_back(self, count: int) -> None:
        """Undo the last so many `admit` that kept a key, with their places."""
        order = self._batches[-1][1]
        for _ in range(count):
            bucket = order.pop()
            self._buckets[bucket] = self._buckets[bucket][:-_KEPT_BYTES]
        self._count -= count

    def note(self, keys: Sequence[bytes], at_s: float) -> None:
        """Keep compact keys that are not asked for first."""
        self.begin(at_s)
        order, mask = self._batches[-1][1], self._mask
        for key in keys:
            bucket = hash(key[:HALF_BYTES]) & mask
            if len(self._buckets[bucket]) >= _CROWD_BYTES:
                bucket = self._bucket_of(key, bucket)
            self._buckets[bucket] += key[_KEPT]
            order.append(bucket)
        self._count += len(keys)
        if self._count > self._keys_min:
            self._let_go(at_s)

    def forget(self, key: bytes) -> None:
        """Make a key unknown again; its place is kept, so that the order of the others holds."""
        for bucket in (hash(key[:HALF_BYTES]) & self._mask, self._elsewhere(key)):
            blob = self._buckets[bucket]
            at = _place(blob, key[_KEPT])
            if at >= 0:
                self._buckets[bucket] = blob[:at] + _FORGOTTEN + blob[at + _KEPT_BYTES :]
                return

    def _find(self, blob: bytes, key: bytes, name: bytes) -> Knowledge:
        if self._crowded and name in self._crowded:
            elsewhere, kept = self._buckets[self._elsewhere(key)], key[_KEPT]
            is_known = _place(elsewhere, kept) >= 0 or _place(blob, kept) >= 0
            return Knowledge.SAME if is_known else Knowledge.OTHER_CONTENT
        # What is new, as nearly all is, ends here without a call.
        if blob.find(key[_KEPT_NAME]) < 0 or _place(blob, key[_KEPT_NAME]) < 0:
            return _NEW
        return Knowledge.SAME if _place(blob, key[_KEPT]) >= 0 else Knowledge.OTHER_CONTENT

    def _elsewhere(self, key: bytes) -> int:
        """Tell where a key lies that its crowd has no room for."""
        return hash(key) & self._mask

    def _bucket_of(self, key: bytes, bucket: int) -> int:
        """Tell where a key goes whose bucket may hold a crowd of its device and id."""
        name = key[:HALF_BYTES]
        if self._buckets[bucket].count(key[_KEPT_NAME]) < CROWD:
            return bucket
        self._crowded.pop(name, None)  # To the end: the dict stands in the order of time.
        self._crowded[name] = self._batches[-1][0]
        return self._elsewhere(key)

    def _let_go(self, now_s: float) -> None:
        expired_s = now_s - self._ttl_s
        while self._count > self._keys_min:
            at_s, order = self._batches[0]
            is_expired = at_s < expired_s
            if not is_expired and self._count <= self._keys_max:
                return
            surplus = self._count - (self._keys_min if is_expired else self._keys_max)
            run = min(len(order) - self._taken, surplus)
            for bucket in order[self._taken : self._taken + run]:
                self._buckets[bucket] = self._buckets[bucket][_KEPT_BYTES:]
            self._count -= run
            self._taken += run
            if self._taken == len(order):
                self._batches.popleft()
                self._taken = 0
                self._forget_crowds()

    def _forget_crowds(self) -> None:
        """Forget of which keys some lie elsewhere, once none of those is kept."""
        oldest_s = self._batches[0][0] if self._batches else float("inf")
        while self._crowded:
            name, last_s = next(iter(self._crowded.items()))
            if last_s >= oldest_s:
                return
            del self._crowded[name]

    def seconds(self, now_s: float) -> float:
        """Tell how long the window is: the age of its oldest key."""
        return now_s - self._batches[0][0] if self._batches else 0.0


def _place(blob: bytes, wanted: bytes) -> int:
    """Find where what is kept of a key begins, or of its name; -1 where it does nowhere."""
    at = blob.find(wanted)
    while at % _KEPT_BYTES and at >= 0:
        at = blob.find(wanted, at + 1)
    return at
