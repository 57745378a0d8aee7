"""How important a record is: by its route, by its device, and by the company it keeps."""

from bridge.config.sections import Route
from bridge.fleet.registry import DeviceEntry, Registry
from bridge.runtime.importances import Importances
from bridge.spool.shedding import Importance

ROUTES = [
    Route(filter="alarms/+", kafka_topic="alarms", priority="high"),
    Route(filter="logs/+", kafka_topic="logs", priority="low"),
    Route(filter="shared/+/a", kafka_topic="shared", priority="low"),
    Route(filter="shared/+/b", kafka_topic="shared", priority="medium"),
]


def test_a_topic_is_as_important_as_its_most_important_route_and_dead_letters_are_medium() -> None:
    importances = Importances(ROUTES, "letters", None)

    assert {
        "alarms": Importance.HIGH,
        "logs": Importance.LOW,
        "shared": Importance.MEDIUM,
        "letters": Importance.MEDIUM,
        "of an earlier configuration": Importance.MEDIUM,
    } == {
        each: importances.of_topic(each)
        for each in ("alarms", "logs", "shared", "letters", "of an earlier configuration")
    }
    assert {Importance.HIGH, Importance.MEDIUM, Importance.LOW} == importances.classes()


def test_what_the_registry_says_of_a_device_goes_first() -> None:
    registry = Registry()
    importances = Importances(ROUTES[1:2], "letters", registry)
    assert {Importance.LOW} == importances.classes()

    registry.replace({"pump": DeviceEntry(priority="high"), "plain": DeviceEntry()})

    assert [Importance.HIGH, Importance.LOW, Importance.LOW, Importance.LOW] == [
        importances.of_record("logs", key) for key in (b"pump", b"plain", b"stranger", b"\xff")
    ]
    assert {Importance.HIGH, Importance.MEDIUM, Importance.LOW} == importances.classes()
