"""What the check says in the end."""

from bridge.errors import ExitCode
from bridge.runtime.live_check.points import Group, Scribe, as_lines, as_tree, exit_code, verdict

MQTT = Scribe(Group.MQTT)
KAFKA = Scribe(Group.KAFKA)
HOST = Scribe(Group.HOST)

GOOD = MQTT.ok("MQTT version", "5")
OPEN = MQTT.not_proven("broker queue", "not measured", "add --fill")
WEAK = KAFKA.warn("replication", "1", "three brokers")
WRONG = KAFKA.wrong("cleanup.policy", "compact", "set delete")
REFUSED = HOST.refused("spool", "refused", "mend it")


def test_without_a_failure_the_exit_code_is_0_and_what_is_open_is_named() -> None:
    assert ExitCode.OK == exit_code([GOOD, OPEN, WEAK])
    assert "the first thing that would lose data: none was found; not proven: broker queue" == (
        verdict([GOOD, OPEN, WEAK])
    )


def test_when_every_point_holds_the_verdict_says_that_all_are_proven() -> None:
    assert verdict([GOOD]).endswith("none was found, every point is proven")


def test_the_first_failure_is_the_verdict_with_its_remedy() -> None:
    assert (
        "the first thing that would lose data: Kafka: cleanup.policy: compact; set delete"
        " (and 1 more)" == verdict([GOOD, WRONG, REFUSED])
    )


def test_a_wrong_setting_is_78_and_a_service_that_refuses_comes_before_it() -> None:
    assert ExitCode.CONFIGURATION == exit_code([GOOD, WRONG])
    assert ExitCode.UNAVAILABLE == exit_code([WRONG, REFUSED])


def test_what_was_not_looked_at_at_all_is_no_success() -> None:
    assert ExitCode.UNAVAILABLE == exit_code([MQTT.not_looked_at("connection", "no", "stop it")])


def test_there_is_one_line_a_point_under_the_name_of_its_group() -> None:
    assert [
        "MQTT",
        "  ok          MQTT version: 5",
        "  not proven  broker queue: not measured; add --fill",
        "Kafka",
        "  warn        replication: 1; three brokers",
        "this host",
        "the first thing that would lose data: none was found; not proven: broker queue",
    ] == as_lines([WEAK, GOOD, OPEN])


def test_what_a_peer_wrote_cannot_move_the_cursor() -> None:
    hostile = MQTT.refused("connection", "\x1b[2J\nok  everything", "start it")

    lines = as_lines([hostile])
    tree = as_tree([hostile])

    assert 5 == len(lines)
    assert all(line.isprintable() for line in lines)
    assert "\\x1b[2J\\nok  everything" == tree["points"][0]["value"]
    assert tree["verdict"].isprintable()
