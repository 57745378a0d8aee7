"""Versions as people write them: their order, and which of them a recall names.

Theory of operation. A version is numbers with dots, then perhaps what makes it earlier (`-rc.1`,
`b2`, `.dev3`) or later (`.post1`, `-r2`) than its numbers alone, then perhaps a build (`+...`). The
order is that of SemVer: numbers as numbers, a pre-release before its release, a build means
nothing; where SemVer has no word it is that of Python's packaging: trailing zeros mean nothing
(1.2 is 1.2.0), `rc1` and `rc.1` are alike, `a`, `b`, `c` are alpha, beta, rc, `dev` comes first.
Anything else is text: it equals only itself, lies in no range, and sorts before every version.

It stands in this room, because the configuration must judge a recall before anything runs.
"""

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import msgspec

from bridge.config.paths import quoted

TEXT_CHARACTERS_MAX: Final = 64
"""A longer text is no version: so no number in it is too long to be read."""

_VERSION: Final = re.compile(
    r"[vV]?([0-9]+(?:\.[0-9]+)*)"
    r"(?:-([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)"
    r"|[._]?((?:alpha|beta|preview|pre|rc|dev|a|b|c|post|rev|r)[._-]?[0-9]*))?"
    r"(?:\+([0-9A-Za-z.-]+))?",
    re.IGNORECASE,
).fullmatch
_RUNS: Final = re.compile(r"[0-9]+|[A-Za-z]+").findall
_ALIKE: Final = {"a": "alpha", "b": "beta", "c": "rc", "pre": "rc", "preview": "rc"}
_LATER: Final = frozenset({"post", "rev", "r"})
_CONDITION: Final = re.compile(r"\s*(<=|>=|==|!=|<|>|=)?\s*(\S(?:.*\S)?)\s*").fullmatch

_COMPARISONS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "!=": operator.ne,
}

_EARLIER_THAN_RELEASE, _RELEASE, _LATER_THAN_RELEASE = -1, 0, 1

Identifier: TypeAlias = tuple[int, int, str]
"""One word or number behind the numbers, so that tuples of it compare as versions do."""


@dataclass(frozen=True, order=True, slots=True, kw_only=True)
class Version:
    """One version; any two compare, field by field in this order."""

    is_version: bool
    """False: it is text."""
    numbers: tuple[int, ...] = ()
    stage: int = _RELEASE
    identifiers: tuple[Identifier, ...] = ()
    text: str = ""
    """The whole of what is no version."""
    build: str = field(default="", compare=False)
    """Means nothing to the order."""


def read_version(text: str) -> Version:
    """Read a version; whatever is none is taken as text."""
    match = _VERSION(text.strip()) if len(text) <= TEXT_CHARACTERS_MAX else None
    if match is None:
        return Version(is_version=False, text=text.strip())
    numbers = [int(number) for number in match[1].split(".")]
    while len(numbers) > 1 and not numbers[-1]:
        numbers.pop()
    words = [word.lower() for word in _RUNS(match[2] or match[3] or "")]
    stage = _RELEASE
    if words:
        stage = _LATER_THAN_RELEASE if words[0] in _LATER else _EARLIER_THAN_RELEASE
    if stage == _LATER_THAN_RELEASE:
        words = ["post", *(words[1:] or ["0"])]
    return Version(
        is_version=True,
        numbers=tuple(numbers),
        stage=stage,
        identifiers=tuple(_identifier(word) for word in words),
        build=match[4] or "",
    )


def _identifier(word: str) -> Identifier:
    """Order numbers before words, `dev` before every other word (SemVer section 11, PEP 440)."""
    if word.isdigit():
        return (0, int(word), "")
    return (1, 0, "") if word == "dev" else (1, 1, _ALIKE.get(word, word))


class Recall(msgspec.Struct, frozen=True):
    """One entry of `validation.firmware_recalled`: conditions that a version must all meet."""

    text: str
    conditions: tuple[tuple[str, Version], ...]

    def covers(self, version: Version) -> bool:
        """Tell whether a version is recalled; a text only if it is named as it is."""
        return all(_meets(version, sign, bound) for sign, bound in self.conditions)


def _meets(version: Version, sign: str, bound: Version) -> bool:
    if sign == "=":
        # A build is recalled alone only where it is named.
        return version == bound and bound.build in {"", version.build}
    return version.is_version and _COMPARISONS[sign](version, bound)


def read_recall(text: str) -> Recall:
    """Read `1.4.2`, or `>=2.0.0,<2.0.7`: conditions with commas between them, all to be met.

    Raises:
        ValueError: it is neither; says what is wrong and how it is written.
    """
    conditions: list[tuple[str, Version]] = []
    for part in text.split(","):
        match = _CONDITION(part)
        if match is None:
            raise ValueError('has no version in one of its parts; write "1.4.2" or ">=2.0,<2.0.7"')
        sign = (match[1] or "=").replace("==", "=")
        bound = read_version(match[2])
        if sign != "=" and not bound.is_version:
            raise ValueError(
                f"compares with {quoted(match[2])}, which is no version that has an order;"
                ' write numbers with dots, as in ">=2.0,<2.0.7"'
            )
        conditions.append((sign, bound))
    if {sign for sign, _ in conditions} == {"!="}:
        raise ValueError('covers all but one version; write a range, as in ">=2.0,<2.0.7"')
    equal = sum(sign == "=" for sign, _ in conditions)
    if equal and len(conditions) > 1:
        raise ValueError(
            "names one version and more conditions, which all have to be met at once;"
            ' write each version as an entry of its own, ["1.4.2", "1.4.3"]'
        )
    return Recall(text.strip(), tuple(conditions))
