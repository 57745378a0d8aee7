import math
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, strategies as st

from bridge.pipeline.timestamps import (
    Timestamp,
    read_canonical,
    read_timestamp,
    write_timestamp,
)

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
US = timedelta(microseconds=1)


def read(sent: object) -> Timestamp:
    found = read_timestamp(sent)
    assert isinstance(found, Timestamp), found
    return found


@pytest.mark.parametrize(
    "sent",
    [
        "2026-11-23T17:35:24Z",
        "2026-11-23T17:35:24.1Z",
        "2026-11-23T17:35:24.123Z",
        "2026-11-23T17:35:24.120000Z",
        "2026-11-23T17:35:24.123456789Z",
        "0001-01-01T00:00:00Z",
        "9999-12-31T23:59:59.999999Z",
        "2024-02-29T00:00:00Z",
    ],
)
def test_what_is_in_the_form_already_stays_as_it_is(sent: str) -> None:
    assert sent == read(sent).text


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ("2026-11-23T17:35:24+00:00", "2026-11-23T17:35:24Z"),
        ("2026-11-23T17:35:24-00:00", "2026-11-23T17:35:24Z"),
        ("2026-11-23T18:35:24.5+01:00", "2026-11-23T17:35:24.500Z"),
        ("2026-11-23T00:05:00-05:30", "2026-11-23T05:35:00Z"),
        ("2026-11-23t17:35:24z", "2026-11-23T17:35:24Z"),
        ("2026-11-23 17:35:24.120Z", "2026-11-23T17:35:24.120Z"),
        ("2026-11-23 17:35:24.1234Z", "2026-11-23T17:35:24.123400Z"),
        ("2026-11-23 17:35:24.000Z", "2026-11-23T17:35:24Z"),
        ("2026-11-23 17:35:24.9999999Z", "2026-11-23T17:35:24.999999Z"),
        ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00Z"),
        ("2016-12-31T23:59:60.5Z", "2017-01-01T00:00:00.500Z"),
        ("2017-01-01T00:59:60+01:00", "2017-01-01T00:00:00Z"),
        (0, "1970-01-01T00:00:00Z"),
        (-1, "1969-12-31T23:59:59Z"),
        (1_795_455_324, "2026-11-23T17:35:24Z"),
        (1_795_455_324.123, "2026-11-23T17:35:24.123Z"),
        (1_795_455_324.123456, "2026-11-23T17:35:24.123456Z"),
        (1_795_455_324_123, "2026-11-23T17:35:24.123Z"),
        (1_795_455_324_123.5, "2026-11-23T17:35:24.123500Z"),
        (99_999_999_999, "5138-11-16T09:46:39Z"),
        (100_000_000_000, "1973-03-03T09:46:40Z"),
    ],
)
def test_another_form_is_rewritten(sent: object, expected: str) -> None:
    assert expected == read(sent).text
    assert not read(sent).is_naive


def test_no_zone_is_utc_and_is_said() -> None:
    found = read("2026-11-23T17:35:24.5")

    assert ("2026-11-23T17:35:24.500Z", True) == (found.text, found.is_naive)


@pytest.mark.parametrize(
    "sent",
    [
        "",
        "now",
        "20240101",
        "2024-01-01",
        "2024-01-01T",
        "2024-01-01T00:00Z",
        "20240101T000000Z",
        "2024-W01-1T00:00:00Z",
        "2024-001T00:00:00Z",
        "2024-01-01T00:00:00,5Z",
        "2024-01-01T00:00:00.Z",
        "2024-01-01T24:00:00Z",
        "2024-01-01T23:60:00Z",
        "2024-01-01T23:59:61Z",
        "2024-01-01T12:30:60Z",
        "2024-13-01T00:00:00Z",
        "2024-00-01T00:00:00Z",
        "2023-02-29T00:00:00Z",
        "2024-01-01T00:00:00+24:00",
        "2024-01-01T00:00:00+01:60",
        "2024-01-01T00:00:00+0100",
        "2024-01-01T00:00:00+01",
        "2024-01-01T00:00:00 Z",
        "2024-01-01_00:00:00Z",
        " 2024-01-01T00:00:00Z",
        "2024-01-01T00:00:00Z\n",
        "+2024-01-01T00:00:00Z",
        "12024-01-01T00:00:00Z",
        "\u0662\u0660\u0662\u0664-01-01T00:00:00Z",
        "2024-01-01T00:00:00\u2212\u0660\u0661:00",
        True,
        False,
        None,
        [],
        {},
        ["2024-01-01T00:00:00Z"],
        math.nan,
        math.inf,
        -math.inf,
    ],
    ids=repr,
)
def test_what_is_no_timestamp_is_told_why(sent: object) -> None:
    detail = read_timestamp(sent)

    assert isinstance(detail, str)
    assert detail.startswith("timestamp ")


@pytest.mark.parametrize(
    ("sent", "is_past"),
    [
        ("0001-01-01T00:00:00+23:59", True),
        ("0000-01-01T00:00:00Z", True),
        ("0000-12-31T23:59:60Z", None),
        ("9999-12-31T23:59:59-23:59", False),
        ("9999-12-31T23:59:60Z", False),
        (-(10**4_299), True),
        (10**4_299, False),
        (1.7e308, False),
        (-1.7e308, True),
        (1_795_455_324_123_456_789, False),
    ],
    ids=lambda sent: str(sent)[:32] if not isinstance(sent, int) else f"{sent.bit_length()} bits",
)
def test_an_instant_that_no_clock_reaches_is_still_a_number(
    sent: object, *, is_past: bool | None
) -> None:
    found = read(sent)

    if is_past is None:  # The last leap second of year 0 is the first second of year 1.
        assert found.text == "0001-01-01T00:00:00Z"
    else:
        assert found.text is None
        assert is_past == (found.measured_at_us < 0)


@given(
    st.datetimes(
        min_value=datetime(2, 1, 1),  # noqa: DTZ001
        max_value=datetime(9998, 12, 31),  # noqa: DTZ001
        timezones=st.integers(-1_439, 1_439).map(lambda m: timezone(timedelta(minutes=m))),
    ),
    st.sampled_from(["T", "t", " "]),
)
def test_every_instant_survives_writing_and_reading(instant: datetime, separator: str) -> None:
    expected = (instant - EPOCH) // US

    assert expected == read(instant.isoformat(sep=separator)).measured_at_us
    text = write_timestamp(expected)
    assert text is not None
    assert (expected, text) == (read(text).measured_at_us, read(text).text)


@given(
    st.text()
    | st.from_regex(r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}.{0,9}\Z")
)
def test_no_text_makes_reading_raise(sent: str) -> None:
    assert isinstance(read_timestamp(sent), Timestamp | str)


@given(st.integers() | st.floats())
def test_no_number_makes_reading_raise(sent: float) -> None:
    assert isinstance(read_timestamp(sent), Timestamp | str)


# ---------------------------------------------------------------------- many at once


_FORMS = st.sampled_from(
    [
        "2026-11-26T05:00:00Z",
        "2026-11-26T05:00:00.123Z",
        "2026-11-26T05:00:00.1234567Z",
        "2024-02-29T23:59:59.123456Z",
        "2016-12-31T23:59:60Z",
        "0000-01-01T00:00:00Z",
        "2026-11-26t05:00:00z",
        "2026-11-26T05:00:00+00:00",
    ]
)
_SLIPS = st.lists(
    st.tuples(
        st.integers(min_value=0, max_value=29),
        st.sampled_from(["", *'0123456789TZtz:.-+ "\\,/u']),
        st.integers(min_value=0, max_value=1),
    ),
    max_size=3,
)


@st.composite
def _nearly_timestamps(draw: st.DrawFn) -> str:
    """Give what is a timestamp but for some slips of the pen, and for quotes and escapes."""
    text = draw(_FORMS)
    for at, put, length in draw(_SLIPS):
        text = text[:at] + put + text[at + length :]
    return text


@given(st.lists(_nearly_timestamps(), min_size=1, max_size=4))
def test_many_are_read_at_once_if_and_only_if_each_is_in_the_form_already(sent: list[str]) -> None:
    one_by_one = [read_timestamp(each) for each in sent]

    found = read_canonical(sent)

    own = [each for each in one_by_one if isinstance(each, Timestamp)]
    is_in_form = [each.text for each in own] == sent
    assert found == ([each.measured_at_us for each in own] if is_in_form else None)


@pytest.mark.parametrize(
    "sent",
    [
        ['2026-11-26T05:00:00Z","2026-11-26T05:00:00Z'],
        ['2026-11-26T05:00:00Z","', "2026-11-26T05:00:00Z"],
        ["\\u0032026-11-26T05:00:00Z"],
        [""],
        ["2026-11-26T05:00:00Z", 1],
    ],
    ids=["quotes", "quotes that shift", "an escape", "nothing", "a number"],
)
def test_what_would_be_read_only_as_a_part_of_json_is_not(sent: list[object]) -> None:
    assert read_canonical(sent) is None
