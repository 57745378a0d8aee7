"""Of librdkafka's lines the one is heard that matters, and the others pass as they would."""

import logging
from collections.abc import Iterator

import pytest

from bridge.runtime.librdkafka_log import LogListener, with_debug

TEXT = "%s [%s] %s"
BUMP = (
    "[thrd:kafka:9092/1]: Beginning partition drain in state Assigned for PID{Id:0,Epoch:0}"
    " epoch bump for 1 partition(s) with in-flight requests: skipped sequence numbers"
)
RETRY = "[thrd:kafka:9092/1]: t [3] beginning partition drain: drain before retrying"
GAP = BUMP.replace("skipped sequence numbers", "message sequence gap")
BUMPED = "[thrd:kafka:9092/1]: All partitions drained, bumped epoch to PID{Id:0,Epoch:1}"
LEADER_MOVES = RETRY.replace(
    "drain before retrying",
    "wait for outstanding requests to finish before producing to new leader",
)
OUT_OF_SEQUENCE = (
    "[thrd:kafka:9092/1]: kafka:9092/1: ProduceRequest for t [3] with 2 message(s) failed due to"
    " skipped sequence numbers (PID{Id:0,Epoch:0}, base seq 7 > next seq 6) caused by previous"
    " failed request (MSG_SIZE_TOO_LARGE, actions Permanent, base seq 6..6, base msgid 7, 3ms ago):"
    " recovering and retrying"
)
OTHERS = [
    RETRY,
    OUT_OF_SEQUENCE,
    BUMP.replace("Assigned", "DrainBump"),
    BUMPED,
    "[thrd:main]: Idempotent producer state change Assigned -> DrainBump",
]


class Levels(logging.Handler):
    """Keep the levels of what comes."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one."""
        self.seen.append(record.levelname)


@pytest.fixture
def levels() -> Iterator[Levels]:
    logger, handler = logging.getLogger("librdkafka"), Levels()
    before = logger.level, logger.disabled
    # The import linter, which another test runs in this process, disables what was there before.
    logger.disabled = False
    logger.setLevel(logging.DEBUG)
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(before[0])
    logger.disabled = before[1]


def speak(listener: LogListener, *lines: str) -> None:
    for line in lines:
        listener.log(logging.DEBUG, TEXT, "DRAIN", "b#producer-1", line)


def heard(*lines: str) -> list[str]:
    reasons: list[str] = []
    speak(LogListener({}, reasons.append), *lines)
    return reasons


def test_the_first_line_of_an_epoch_bump_is_heard_with_its_reason() -> None:
    assert ["skipped sequence numbers"] == heard(BUMP)


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param([RETRY, GAP, BUMPED], id="before the bump"),
        pytest.param([LEADER_MOVES, GAP, BUMPED], id="while the leader moves"),
        pytest.param([GAP, RETRY, BUMPED], id="while all is awaited"),
        pytest.param([GAP, OUT_OF_SEQUENCE, RETRY.replace("[3]", "[4]"), BUMPED], id="elsewhere"),
        pytest.param([GAP, OUT_OF_SEQUENCE, RETRY, BUMPED, RETRY, GAP], id="there, later"),
    ],
)
def test_a_bump_after_a_refusal_is_told_once_where_an_answer_is_missing(lines: list[str]) -> None:
    assert ["message sequence gap"] == heard(*lines)


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param([GAP, BUMPED, GAP, BUMPED], id="nothing waits"),
        pytest.param(
            [GAP, OUT_OF_SEQUENCE, RETRY, BUMPED, GAP, BUMPED], id="refused for its place"
        ),
        pytest.param([GAP, BUMPED, RETRY], id="after it"),
    ],
)
def test_a_bump_after_a_refusal_is_not_told_where_every_answer_was_heard(lines: list[str]) -> None:
    assert [] == heard(*lines)


def test_what_a_bump_numbered_anew_is_not_told_again_by_the_next() -> None:
    assert ["skipped sequence numbers"] == heard(RETRY, BUMP, BUMPED, GAP, BUMPED)


def test_whoever_has_nothing_under_way_ends_the_doubt() -> None:
    reasons: list[str] = []
    listener = LogListener({}, reasons.append)

    speak(listener, RETRY)
    listener.is_in_doubt = False
    speak(listener, GAP)

    assert [] == reasons


@pytest.mark.parametrize("line", OTHERS)
def test_no_other_line_is_taken_for_one(line: str) -> None:
    assert [] == heard(line)


def test_only_what_is_said_for_debugging_is_heard() -> None:
    reasons: list[str] = []

    LogListener({}, reasons.append).log(logging.INFO, TEXT, "DRAIN", "b#producer-1", BUMP)

    assert [] == reasons


@pytest.mark.parametrize(
    ("log_level", "passes"),
    [(None, ["INFO", "WARNING", "ERROR"]), (4, ["WARNING", "ERROR"]), (0, [])],
)
def test_the_level_that_debug_lets_librdkafka_forget_holds(
    log_level: int | None, passes: list[str], levels: Levels
) -> None:
    listener = LogListener({} if log_level is None else {"log_level": log_level}, lambda _: None)

    for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
        listener.log(level, TEXT, "FAIL", "b#producer-1", "Disconnected")

    assert passes == levels.seen


def test_contexts_of_the_operator_stay() -> None:
    assert "eos" == with_debug({})["debug"]
    assert "broker,eos" == with_debug({"debug": "broker"})["debug"]


@pytest.mark.parametrize("log_level", ["1.5", "abc", "9", "-1"])
def test_a_level_that_is_none_is_left_to_librdkafka_to_refuse(
    log_level: str, levels: Levels
) -> None:
    LogListener({"log_level": log_level}, lambda _: None).log(
        logging.DEBUG, TEXT, "FAIL", "b", "line"
    )

    assert [] == levels.seen
