"""docs/formats.md says what is so: its tables load, and its bytes are the message beside them."""

import json
import re
from pathlib import Path

import pytest

from bridge.config import load
from bridge.pipeline.decode import Decoding, FormatChoice
from bridge.pipeline.identity import Address
from tests.pipeline.formats.given import FORMATS

PAGE = (Path(__file__).parents[3] / "docs" / "formats.md").read_text(encoding="utf-8")
BLOCKS = dict.fromkeys(re.findall(r"^```toml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE))


@pytest.mark.parametrize("text", BLOCKS, ids=lambda text: text.splitlines()[-1][:20])
def test_every_table_of_the_page_is_taken_without_a_warning(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.toml"
    path.write_text(text, encoding="utf-8")

    assert () == load(path, environment={}, reads_files=False).warnings


def test_the_bytes_of_the_page_are_the_message_beside_them(tmp_path: Path) -> None:
    (text,) = [block for block in BLOCKS if "[layout." in block]
    written = re.findall(r"^    ([0-9a-f]{2}(?: [0-9a-f]{2})+)$", PAGE, re.MULTILINE)
    said = json.loads(re.findall(r"^```json\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)[-1])
    path = tmp_path / "x.toml"
    path.write_text(text, encoding="utf-8")
    config = load(path, environment={}).config
    (route,) = config.route
    decoding = Decoding({route.filter: FormatChoice(name="binary", layout=config.layout["meter"])})
    address = Address(route=route, device_id="m-17", key=b"", is_valid=True)

    payload = bytes.fromhex(written[0])

    assert said == decoding.decode(payload, None, address)
    missing = payload[:5] + b"\x00\x80" + payload[7:]
    assert decoding.decode(missing, None, address)["metrics"]["temperature"] is None
    rows = re.findall(r"^\| (\d+) \| `([0-9a-f ]+)` \|", PAGE, re.MULTILINE)
    assert payload == b"".join(bytes.fromhex(each) for _, each in rows)
    assert [0, 1, 5, 7, 10, 11, 12] == [int(offset) for offset, _ in rows]


def test_every_format_has_a_row_of_what_it_costs() -> None:
    costs = PAGE.partition("## What it costs")[2]

    assert [] == [
        name
        for name in FORMATS
        if not re.search(rf"^\| {name.split(',')[0]}\b", costs, re.MULTILINE)
    ]
