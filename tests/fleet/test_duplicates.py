"""Duplicates of what is known, and of what is under way."""

import msgspec

from bridge.fleet.dedup_window import DedupWindow, Knowledge
from bridge.fleet.duplicates import Duplicates

KEY = b"k" * 16
OTHER = b"k" * 8 + b"o" * 8
LETTER = b"l" * 16


class Receipt(msgspec.Struct, eq=False):
    settled: bool = False
    is_promised: bool = True

    def settle(self) -> None:
        self.settled = True


def duplicates() -> Duplicates:
    known = Duplicates(DedupWindow(ttl_s=1e9, keys_max=100, keys_min=10))
    known.begin(0.0)
    return known


def test_a_key_is_new_once_then_under_way_then_the_same() -> None:
    known = duplicates()

    first = known.judge(KEY)
    second = known.judge(KEY)
    known.confirm([KEY])
    third = known.judge(KEY)

    assert [Knowledge.NEW, Knowledge.UNDER_WAY, Knowledge.SAME] == [first, second, third]


def test_the_same_id_with_other_content_is_a_second_reading_even_while_under_way() -> None:
    known = duplicates()
    known.judge(KEY)

    assert Knowledge.OTHER_CONTENT is known.judge(OTHER)
    assert Knowledge.UNDER_WAY is known.judge(OTHER)


def test_who_joins_a_key_under_way_is_returned_when_it_is_confirmed_and_only_then() -> None:
    known = duplicates()
    known.judge(KEY)
    receipts = [Receipt(), Receipt()]

    for receipt in receipts:
        known.join(KEY, receipt)

    assert 2 == known.count_joined()
    assert [] == known.confirm([LETTER])
    assert receipts == known.confirm([KEY])
    assert 0 == known.count_joined()


def test_an_abandoned_key_is_new_again() -> None:
    known = duplicates()
    known.judge(KEY)

    known.abandon(KEY)

    assert Knowledge.NEW is known.judge(KEY)


def test_a_dead_letter_takes_over_who_waits_for_the_record_that_kafka_refused() -> None:
    known = duplicates()
    known.judge(KEY)
    receipt = Receipt()
    known.join(KEY, receipt)

    known.rename(KEY, LETTER, now_s=0.0)

    assert not known.is_known(KEY), "accepted the next time it is no duplicate"
    assert Knowledge.UNDER_WAY is known.judge(LETTER)
    assert [receipt] == known.confirm([LETTER])


def test_a_letter_that_is_known_needs_no_other_and_its_followers_stay_for_who_abandons() -> None:
    known = duplicates()
    known.recall([LETTER], 0.0)
    known.judge(KEY)
    receipt = Receipt()
    known.join(KEY, receipt)

    knowledge = known.rename(KEY, LETTER, now_s=0.0)

    assert Knowledge.SAME is knowledge
    assert [receipt] == list(known.abandon(KEY))


def test_a_letter_under_way_takes_over_who_waits_for_the_same_message_come_again() -> None:
    known = duplicates()
    known.judge(KEY)
    known.rename(KEY, LETTER, now_s=0.0)
    known.judge(KEY)
    receipt = Receipt()
    known.join(KEY, receipt)

    knowledge = known.rename(KEY, LETTER, now_s=0.0)

    assert Knowledge.UNDER_WAY is knowledge
    assert [receipt] == known.confirm([LETTER])


def test_what_kafka_was_found_to_have_is_known() -> None:
    known = duplicates()

    known.recall([KEY], 0.0)

    assert Knowledge.SAME is known.judge(KEY)


def test_turned_off_everything_is_new() -> None:
    known = Duplicates(None)

    answers = [known.judge(KEY) for _ in range(2)]
    known.rename(KEY, LETTER, now_s=0.0)

    assert [Knowledge.NEW, Knowledge.NEW] == answers
    assert not known.is_known(KEY)
    assert [] == known.confirm([KEY])
    assert not known.is_on
