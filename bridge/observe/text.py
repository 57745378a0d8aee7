"""Text from outside, made safe for one log line or one JSON answer."""

FIELD_CHARACTERS_MAX = 1_024
"""Longest text of one field; longer is cut and says how long it was."""

_CUT_MARK_CHARACTERS = 40
"""Room for the mark that says how much is missing."""


def printable(text: str, limit: int = FIELD_CHARACTERS_MAX) -> str:
    r"""Return the text on one line, every unprintable character escaped, never above the limit.

    What devices, brokers and libraries say may hold ESC, line ends (U+2028 and U+0085 too),
    bidirectional controls, invisible characters and lone surrogates: `str.isprintable` knows them
    all, and costs 20 ns on the text that has none. The escape stands in the text itself (`\x1b`),
    not in the encoding, so it is still harmless once a viewer has decoded the JSON.
    """
    if len(text) <= limit and text.isprintable():
        return text
    kept = text[:limit]
    if not kept.isprintable():
        kept = "".join([c if c.isprintable() else _escape(c) for c in kept])
    if len(kept) <= limit and len(text) <= limit:
        return kept
    return f"{kept[: limit - _CUT_MARK_CHARACTERS]}… (cut, {len(text)} characters)"


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode()
