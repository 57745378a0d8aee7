from bridge.runtime.polling import POLL_CALM_S, POLL_MAX_S, POLL_MIN_S, Polling


def test_a_broker_that_waits_is_answered_as_soon_as_can_be() -> None:
    polling = Polling()

    polling.asked(was_answered=True, is_puback_urgent=True)

    assert polling.pause_s == POLL_MIN_S


def test_where_nobody_waits_reports_are_fetched_together() -> None:
    polling = Polling()

    polling.asked(was_answered=True, is_puback_urgent=False)

    assert polling.pause_s == POLL_CALM_S


def test_a_silent_kafka_is_asked_ever_less_often_until_it_answers() -> None:
    polling = Polling()
    pauses_s: list[float] = []

    for _ in range(20):
        polling.asked(was_answered=False, is_puback_urgent=True)
        pauses_s.append(polling.pause_s)
    polling.asked(was_answered=True, is_puback_urgent=True)

    assert pauses_s == sorted(pauses_s)
    assert pauses_s[0] > POLL_MIN_S
    assert pauses_s[-1] == POLL_MAX_S
    assert polling.pause_s == POLL_MIN_S
