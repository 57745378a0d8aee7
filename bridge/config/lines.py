"""Which line of a TOML file a key stands on; the parser of the standard library does not say.

Theory of operation: the text has already passed `tomllib`, so this scanner may assume valid TOML
and only has to follow its structure: headers, keys, and how far a value reaches. A test parses
generated documents with both and compares the keys they found.
"""

import re
import tomllib
from collections.abc import Mapping

from bridge.config.paths import KeyPath

_BLANK = re.compile(r"(?:[ \t\n]|#[^\n]*)*")
_KEY_PART = re.compile(r"""[ \t]*("(?:[^"\\]|\\.)*"|'[^']*'|[A-Za-z0-9_-]+)[ \t]*""")
_STRING = re.compile(
    r'"""(?:[^\\]|\\.)*?"""(?:"{0,2})'
    r"|'''.*?'''(?:'{0,2})"
    r'|"(?:[^"\\]|\\.)*"'
    r"|'[^']*'",
    re.DOTALL,
)
_BARE_VALUE = re.compile(r"[^,\]}#\n]+")


def lines_of(text: str) -> Mapping[KeyPath, int]:
    """Map every key, table and array element of a valid document to its line, from 1."""
    scanner = _Scanner(text.replace("\r\n", "\n"))
    scanner.scan_document()
    return scanner.lines


class _Scanner:
    """One pass over one document; `_position` only ever moves forward."""

    def __init__(self, text: str) -> None:
        self.lines: dict[KeyPath, int] = {}
        self._text = text
        self._position = 0
        self._line = 1
        self._counted_to = 0
        self._elements: dict[KeyPath, int] = {}
        """How many tables each array of tables has so far."""

    def scan_document(self) -> None:
        table: KeyPath = ()
        while self._skip_blank():
            if self._text.startswith("[[", self._position):
                table = self._scan_header(brackets=2)
            elif self._text[self._position] == "[":
                table = self._scan_header(brackets=1)
            else:
                self._scan_pair(table)

    def _scan_header(self, *, brackets: int) -> KeyPath:
        line = self._line_here()
        self._position += brackets
        parts = self._scan_key()
        self._position += brackets
        table: KeyPath = ()
        for part in parts[:-1]:
            table = self._newest((*table, part))
            self.lines.setdefault(table, line)
        table = (*table, parts[-1])
        self.lines.setdefault(table, line)
        if brackets == 1:
            return table
        self._elements[table] = self._elements.get(table, 0) + 1
        element = self._newest(table)
        self.lines[element] = line
        return element

    def _newest(self, table: KeyPath) -> KeyPath:
        count = self._elements.get(table)
        return table if count is None else (*table, count - 1)

    def _scan_pair(self, table: KeyPath) -> None:
        line = self._line_here()
        path = table
        for part in self._scan_key():
            path = (*path, part)
            self.lines.setdefault(path, line)
        self._position += 1  # The equals sign.
        self._scan_value(path)

    def _scan_key(self) -> list[str]:
        parts = []
        while True:
            part = self._take(_KEY_PART).strip(" \t")
            parts.append(tomllib.loads(f"key = {part}")["key"] if part[0] in "\"'" else part)
            if self._text[self._position] != ".":
                return parts
            self._position += 1

    def _scan_value(self, path: KeyPath) -> None:
        self._skip_blank()
        match self._text[self._position]:
            case '"' | "'":
                self._take(_STRING)
            case "[":
                self._scan_array(path)
            case "{":
                self._scan_inline_table(path)
            case _:
                self._take(_BARE_VALUE)

    def _scan_array(self, path: KeyPath) -> None:
        self._position += 1
        index = 0
        while self._skip_blank() and self._text[self._position] != "]":
            self.lines[(*path, index)] = self._line_here()
            self._scan_value((*path, index))
            index += 1
            self._skip_comma()
        self._position += 1

    def _scan_inline_table(self, path: KeyPath) -> None:
        self._position += 1
        while self._skip_blank() and self._text[self._position] != "}":
            self._scan_pair(path)
            self._skip_comma()
        self._position += 1

    def _skip_comma(self) -> None:
        self._skip_blank()
        if self._text[self._position] == ",":
            self._position += 1

    def _skip_blank(self) -> bool:
        self._take(_BLANK)
        return self._position < len(self._text)

    def _take(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._text, self._position)
        assert match is not None, f"line {self._line_here()}: passed tomllib but not the scanner"
        self._position = match.end()
        return match[0]

    def _line_here(self) -> int:
        self._line += self._text.count("\n", self._counted_to, self._position)
        self._counted_to = self._position
        return self._line
