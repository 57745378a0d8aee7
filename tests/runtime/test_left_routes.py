"""Routes that an earlier configuration had: kept for what is queued, while they can be read."""

from typing import Any

import msgspec

from bridge.config.sections import BridgeConfig, Route
from bridge.runtime.left_routes import LEFT_MAX, left_behind, recall, remember
from bridge.runtime.session_memory import Remembered

LAYOUT = {"byte_order": "big", "fields": [{"name": "t", "type": "u32", "to": "timestamp"}]}


def config(*filters: str, **sections: Any) -> BridgeConfig:
    return msgspec.convert(
        {"route": [{"filter": each} for each in filters], **sections}, BridgeConfig
    )


def memory() -> Remembered:
    return Remembered(client_id="b", address="a:1")


def test_a_route_that_went_is_recalled_and_one_that_stayed_is_not() -> None:
    remembered = memory()
    remember(remembered, config("a/+", "b/+"), [Route(filter="c/+")])

    assert ["b/+", "c/+"] == [each.filter for each in recall(remembered, config("a/+"))]


def test_one_that_came_back_is_as_the_configuration_says_now() -> None:
    before = [Route(filter="a/+", kafka_topic="old")]

    assert [] == left_behind(config("a/+"), before, before)


def test_the_newest_of_a_filter_counts() -> None:
    newest, older = Route(filter="b/+", kafka_topic="new"), Route(filter="b/+", kafka_topic="old")

    assert [newest] == left_behind(config("a/+"), [newest], [older])


def test_what_needs_a_table_that_is_gone_is_left_out() -> None:
    binary = Route(filter="b/+", format="binary", layout="small")

    assert [] == left_behind(config("a/+"), [binary], ())
    assert [binary] == left_behind(config("a/+", layout={"small": LAYOUT}), [binary], ())


def test_what_another_version_wrote_is_left_out() -> None:
    remembered = memory()
    remembered.routes = [{"filter": "b/+", "warp": 9}, {"filter": "c/+"}, {}]

    assert ["c/+", "devices/+/telemetry"] == [
        each.filter for each in recall(remembered, config("a/+"))
    ]


def test_there_are_not_ever_more_of_them() -> None:
    many = [Route(filter=f"{number}/+") for number in range(LEFT_MAX + 5)]

    assert many[:LEFT_MAX] == left_behind(config("a/+"), many, ())
