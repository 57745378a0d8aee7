"""A word, or an object with a word, says that a device is there or gone."""

import pytest
from hypothesis import given, strategies as st

from bridge.fleet.presence import PAYLOAD_BYTES_MAX, read_presence


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        pytest.param(b"online", True, id="word"),
        pytest.param(b" Offline\n", False, id="case and blanks"),
        pytest.param(b'"connected"', True, id="JSON text"),
        pytest.param(b"1", True, id="one"),
        pytest.param(b"0", False, id="nought"),
        pytest.param(b"true", True, id="true"),
        pytest.param(b'{"status":"offline","reason":"will"}', False, id="object"),
        pytest.param(b'{"online":false}', False, id="object with a boolean"),
        pytest.param(b'{"state":"up","online":false}', True, id="the first key counts"),
        pytest.param(b"", None, id="a retained message that was cleared"),
        pytest.param(b"sleeping", None, id="another word"),
        pytest.param(b'{"temperature":1}', None, id="another object"),
        pytest.param(b'{"status":null}', None, id="null"),
        pytest.param(b"7", None, id="another number"),
        pytest.param(b"[" * 5_000, None, id="nested"),
        pytest.param(b"\xff", None, id="no text"),
        pytest.param(b'{"a":1e400,"status":"online"}', True, id="a float that no float holds"),
        pytest.param(b" " * PAYLOAD_BYTES_MAX + b"online", None, id="long"),
    ],
)
def test_only_what_clearly_says_so_is_presence(payload: bytes, expected: bool | None) -> None:  # noqa: FBT001 - a column
    assert read_presence(payload) is expected


@given(st.binary(max_size=200))
def test_no_payload_makes_it_raise(payload: bytes) -> None:
    assert read_presence(payload) in {True, False, None}
