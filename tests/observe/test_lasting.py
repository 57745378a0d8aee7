from bridge.observe.lasting import Lasting


def checks(**states: str) -> dict[str, dict[str, str]]:
    return {part: {"state": state} for part, state in states.items()}


def test_each_part_lasts_since_its_state_last_changed() -> None:
    lasting = Lasting()

    lasting.note(checks(mqtt="subscribed", kafka="answers"), 10.0)
    lasting.note(checks(mqtt="subscribed", kafka="kafka_away"), 20.0)
    lasting.note(checks(mqtt="subscribed", kafka="kafka_away"), 30.0)

    assert {"mqtt": 25.0, "kafka": 15.0} == lasting.seconds(35.0)


def test_a_part_that_goes_and_comes_lasts_anew() -> None:
    lasting = Lasting()
    for now, states in enumerate(({"process": "stopping"}, {}, {"process": "stopping"})):
        lasting.note(checks(**states), float(now))

    assert {"process": 1.0} == lasting.seconds(3.0)
