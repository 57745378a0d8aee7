"""Two bridges of one share group: each is dealt a part, and together they lose nothing."""

from tests.integration.scene import QUIET_DEADLINE_S, Scene, report
from tests.support.devices import fleet
from tests.support.eventually import eventually


def test_members_of_a_share_group_carry_everything_once_between_them(scene: Scene) -> None:
    scene.create_topics()
    members = [
        scene.start(
            mqtt={"share_group": "bridges", "client_id": f"{scene.client_id}-{number}"},
            silence={"source": "kafka"},
        )
        for number in range(2)
    ]
    (subscribed,) = members[0].events("mqtt_subscribed")

    devices = scene.devices()
    ledger = devices.publish(fleet(20, 1_000))
    eventually(
        lambda: scene.client.count(scene.telemetry),
        lambda there: there >= len(ledger.sent),
        what="all is in Kafka",
        deadline_s=QUIET_DEADLINE_S,
    )
    assert [0, 0] == [member.stop() for member in members]
    received = [member.events("bridge_stopped")[-1]["received"] for member in members]
    reckoning = scene.reckon()

    report(f"received {received}; {reckoning}")
    assert ["$share/bridges/devices/+/telemetry"] == subscribed["filters"]
    assert all(received), "one of them was dealt nothing"
    assert 1_000 == sum(received)
    assert (0, 0) == (len(reckoning.missing), reckoning.duplicates)
