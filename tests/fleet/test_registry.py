import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, strategies as st

from bridge.fleet.registry import (
    LABELS_MAX,
    UNREGISTERED,
    Changes,
    Circle,
    DeviceEntry,
    DeviceLimits,
    Interning,
    Registry,
    decode_entry,
    encode_entry,
)

FULL = DeviceEntry(
    type="tracker",
    location=Circle(latitude=52.5, longitude=13.4, radius_m=500.0),
    expected_interval_s=60.0,
    enabled=False,
    priority="high",
    limits=DeviceLimits(per_device_per_s=2.0, burst=5),
    gateway="gw-1",
)


def registry(entries: dict[str, DeviceEntry]) -> Registry:
    made = Registry()
    made.replace(dict(entries))
    return made


def test_nothing_is_known_of_any_device_before_the_registry_is() -> None:
    empty = Registry()

    assert not empty.is_known
    assert empty.get("a") is None
    assert empty.look_up("a") is None
    assert "" == empty.facts().digest
    assert "unknown" == empty.label(None)


def test_a_device_that_is_not_registered_is_told_from_one_that_is() -> None:
    known = registry({"a": DeviceEntry()})

    assert known.look_up("b") is UNREGISTERED
    assert known.look_up("a") is known.get("a") is not UNREGISTERED
    assert known.get("b") is None


def test_an_entry_is_taken_over_and_a_tombstone_removes_it() -> None:
    known = registry({"a": DeviceEntry(type="x"), "b": FULL})

    changes = [
        known.apply("c", FULL),
        known.apply("a", DeviceEntry(type="y")),
        known.apply("b", FULL),
        known.apply("b", None),
        known.apply("b", None),
    ]

    assert [
        Changes(1, 0, 0),
        Changes(0, 1, 0),
        Changes(0, 0, 0),
        Changes(0, 0, 1),
        Changes(0, 0, 0),
    ] == changes
    assert {"a": DeviceEntry(type="y"), "c": FULL} == known.entries()


def test_replacing_all_says_how_many_devices_differ() -> None:
    known = registry({"a": FULL, "b": FULL, "c": FULL})

    changes = known.replace({"a": FULL, "b": DeviceEntry(), "d": FULL})

    assert Changes(added=1, changed=1, removed=1) == changes


def test_the_first_types_are_labels_for_good_and_all_others_one_more() -> None:
    known = registry({f"d{n}": DeviceEntry(type=f"type-{n}") for n in range(LABELS_MAX + 5)})

    known.replace({"new": DeviceEntry(type="new"), "old": DeviceEntry(type="type-0")})

    assert tuple(f"type-{n}" for n in range(LABELS_MAX)) == known.types()
    assert "type-0" == known.label(known.look_up("old"))
    assert "other" == known.label(known.look_up("new"))
    assert "other" == known.label(known.look_up("nobody"))


IDS = st.sampled_from(["a", "b", "c", "dev-1", "dev_2"])
ENTRIES = st.builds(
    DeviceEntry,
    type=st.sampled_from(["", "x", "y"]),
    location=st.one_of(
        st.none(), st.just("hall"), st.builds(Circle, st.just(1.0), st.just(2.0), st.just(3.0))
    ),
    enabled=st.booleans(),
)


@given(
    before=st.dictionaries(IDS, ENTRIES),
    steps=st.lists(st.tuples(IDS, st.one_of(st.none(), ENTRIES))),
)
def test_a_registry_is_the_same_in_whatever_steps_it_came(
    before: dict[str, DeviceEntry], steps: list[tuple[str, DeviceEntry | None]]
) -> None:
    stepped = registry(before)
    for device_id, entry in steps:
        stepped.apply(device_id, entry)
    wanted = {**before, **dict(steps)}
    at_once = registry({name: entry for name, entry in wanted.items() if entry is not None})

    assert at_once.entries() == stepped.entries()
    assert at_once.facts() == stepped.facts()


@given(before=st.dictionaries(IDS, ENTRIES), after=st.dictionaries(IDS, ENTRIES))
def test_two_registries_have_one_digest_only_if_they_are_equal(
    before: dict[str, DeviceEntry], after: dict[str, DeviceEntry]
) -> None:
    digests = registry(before).facts().digest, registry(after).facts().digest

    assert (before == after) == (digests[0] == digests[1])


@given(ENTRIES)
def test_an_entry_comes_back_from_its_record(entry: DeviceEntry) -> None:
    assert entry == decode_entry(encode_entry(entry))


def test_a_record_holds_nothing_but_what_was_said() -> None:
    assert b"{}" == encode_entry(DeviceEntry())
    assert {
        "type": "tracker",
        "location": {"latitude": 52.5, "longitude": 13.4, "radius_m": 500.0},
        "expected_interval_s": 60.0,
        "enabled": False,
        "priority": "high",
        "limits": {"per_device_per_s": 2.0, "burst": 5},
        "gateway": "gw-1",
    } == json.loads(encode_entry(FULL))


def test_what_a_later_version_wrote_is_left_and_the_rest_is_read() -> None:
    value: dict[str, Any] = json.loads(encode_entry(FULL)) | {"colour": "red"}
    value["location"]["altitude_m"] = 30
    value["limits"]["per_day"] = 1

    assert FULL == decode_entry(json.dumps(value).encode())


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (b"", "Input data was truncated"),
        (b"[]", "Expected `object`, got `array`"),
        (b"null", "Expected `object`, got `null`"),
        (b'{"enabled": "no"}', "Expected `bool`, got `str` - at `$.enabled`"),
        (b'{"priority": "x"}', "Invalid enum value 'x' - at `$.priority`"),
        (
            b'{"location": {"latitude": 91, "longitude": 0, "radius_m": 1}, "new": 1}',
            "Expected `float` <= 90.0 - at `$.location.latitude`",
        ),
        (b'{"new": ' + b"[" * 3_000 + b"]" * 3_000 + b"}", "it is nested too deeply"),
    ],
    ids=["nothing", "a list", "null", "a word", "a choice", "a bound, beside a new key", "deep"],
)
def test_a_record_that_is_no_entry_is_refused_with_the_reason(value: bytes, problem: str) -> None:
    with pytest.raises(ValueError, match=".") as caught:  # noqa: RUF043 - compared whole below
        decode_entry(value)

    assert problem == str(caught.value)


def test_equal_entries_are_one_object_and_share_their_texts() -> None:
    interning = Interning()
    texts = ["thermometer", "hall-3", "gw-1", "thermometer", "hall-3", "gw-1"]

    entries = [
        DeviceEntry(type=texts[0], location=texts[1], gateway=texts[2]),
        DeviceEntry(type=texts[3], location=texts[4], gateway=texts[5]),
        DeviceEntry(type=texts[3], location=texts[4], gateway=texts[5], enabled=False),
    ]
    interned = [interning.intern(entry) for entry in entries]

    assert entries == interned
    assert interned[0] is interned[1]
    assert interned[0].location is interned[2].location
    assert not any(msgspec.structs.asdict(each) == {} for each in interned)
