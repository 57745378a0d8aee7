import re
import string

import pytest
from hypothesis import given, strategies as st
from packaging.version import Version as PackagingVersion  # Comes with pytest.

from bridge.config.versions import TEXT_CHARACTERS_MAX, Version, read_recall, read_version

SEMVER_ORDER = [
    "1.0.0-alpha",
    "1.0.0-alpha.1",
    "1.0.0-alpha.beta",
    "1.0.0-beta",
    "1.0.0-beta.2",
    "1.0.0-beta.11",
    "1.0.0-rc.1",
    "1.0.0",
]
"""The example of SemVer 2.0.0 section 11."""
ASCENDING = [
    "what?",
    "0.9",
    "1.0.dev1",
    "1.0a1",
    "1.0b1",
    "1.0b2",
    "1.0b10",
    "1.0rc1",
    "1.0",
    "1.0.post1",
    "1.0.1",
    "1.2",
    "1.10",
    "2.0.0-rc1",
    "2.0.0",
    "10",
]


@pytest.mark.parametrize("texts", [SEMVER_ORDER, ASCENDING], ids=["semver", "packaging"])
def test_versions_sort_as_people_mean_them(texts: list[str]) -> None:
    assert texts == sorted(sorted(texts), key=read_version)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1.2", "1.2.0"),
        ("v1.2.3", "1.2.3"),
        (" 1.2.3 ", "1.2.3"),
        ("1.2.3+build.7", "1.2.3"),
        ("1.0-rc1", "1.0rc1"),
        ("1.0-rc.1", "1.0-RC1"),
        ("1.0a1", "1.0-alpha.1"),
        ("1.0c1", "1.0rc1"),
        ("1.0-r2", "1.0.post2"),
        ("01.002", "1.2"),
        ("garbage", "garbage"),
    ],
)
def test_ways_to_write_one_version_are_equal(one: str, other: str) -> None:
    assert read_version(one) == read_version(other)
    assert hash(read_version(one)) == hash(read_version(other))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "1..2",
        "1.2.",
        "-1",
        "1.2 beta",
        "1!2.0",
        "\u0663.\u0661",
        "1.2.3\n4",
        "9" * (TEXT_CHARACTERS_MAX + 1),
        "1.0.2k",
    ],
)
def test_what_is_no_version_is_text_before_every_version(text: str) -> None:
    read = read_version(text)

    assert not read.is_version
    assert read < read_version("0")


@pytest.mark.parametrize(
    ("recall", "covered", "left"),
    [
        ("1.4.2", ["1.4.2", "v1.4.2", "1.4.2.0", "1.4.2+factory"], ["1.4.3", "1.4.2-rc1", "x"]),
        ("=1.4.2", ["1.4.2"], ["1.4.20"]),
        ("==1.4.2+b7", ["1.4.2+b7"], ["1.4.2", "1.4.2+b8"]),
        (
            ">=2.0.0,<2.0.7",
            ["2.0.0", "2.0.6", "2.0.6.9", "2.0.7-rc1"],
            ["2.0.7", "1.9", "2.0.0-beta", "2.x"],
        ),
        (">1.0, <=1.2, !=1.1", ["1.0.1", "1.2"], ["1.0", "1.1", "1.1.0", "1.2.1"]),
        ("<1.10", ["1.9", "0"], ["1.10", "garbage", ""]),
        ("Release Kranich", ["Release Kranich", " Release Kranich"], ["release kranich", "1"]),
    ],
)
def test_a_recall_covers_what_it_names(recall: str, covered: list[str], left: list[str]) -> None:
    read = read_recall(recall)

    assert covered == [text for text in covered + left if read.covers(read_version(text))]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (" ", 'has no version in one of its parts; write "1.4.2" or ">=2.0,<2.0.7"'),
        (">=1.0,", 'has no version in one of its parts; write "1.4.2" or ">=2.0,<2.0.7"'),
        (
            ">= one",
            (
                'compares with "one", which is no version that has an order;'
                ' write numbers with dots, as in ">=2.0,<2.0.7"'
            ),
        ),
        (
            "1.4.2,1.4.3",
            (
                "names one version and more conditions, which all have to be met at once;"
                ' write each version as an entry of its own, ["1.4.2", "1.4.3"]'
            ),
        ),
        ("!=1.0", 'covers all but one version; write a range, as in ">=2.0,<2.0.7"'),
    ],
)
def test_a_recall_that_makes_no_sense_is_refused_with_a_remedy(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=re.escape(problem)):
        read_recall(text)


NUMBERS = st.lists(st.integers(0, 10**12), min_size=1, max_size=5).map(
    lambda numbers: ".".join(map(str, numbers))
)
LIKE_PACKAGING = st.tuples(
    NUMBERS,
    st.one_of(
        st.just(""),
        st.tuples(st.sampled_from(["a", "b", "rc", ".dev", ".post"]), st.integers(0, 10**6)).map(
            lambda tag: f"{tag[0]}{tag[1]}"
        ),
    ),
).map("".join)
ANYTHING = st.one_of(
    LIKE_PACKAGING,
    st.text(max_size=80),
    st.text(string.digits + ".-+abrcdevpost", max_size=20),
)


@given(LIKE_PACKAGING, LIKE_PACKAGING)
def test_the_order_is_that_of_packaging_where_both_have_the_word(one: str, other: str) -> None:
    ours = read_version(one), read_version(other)
    theirs = PackagingVersion(one), PackagingVersion(other)

    assert (theirs[0] < theirs[1], theirs[0] == theirs[1]) == (
        ours[0] < ours[1],
        ours[0] == ours[1],
    )


@given(st.lists(ANYTHING, min_size=3, max_size=3))
def test_whatever_devices_send_has_one_total_order(texts: list[str]) -> None:
    a, b, c = (read_version(text) for text in texts)

    assert 1 == sum((a < b, a == b, a > b))
    assert not (a <= b <= c) or a <= c
    assert a != b or hash(a) == hash(b)


@given(ANYTHING)
def test_no_range_covers_what_is_no_version(text: str) -> None:
    version: Version = read_version(text)
    is_below_or_not = [read_recall(part).covers(version) for part in ("<5", ">=5")]

    assert ([True] if version.is_version else []) == [each for each in is_below_or_not if each]
