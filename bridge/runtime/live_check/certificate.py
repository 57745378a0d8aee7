"""The two facts of an X.509 certificate that matter here, read from its DER by hand.

The standard library tells them only of a peer that was verified, never of a file.
"""

import ssl
from datetime import UTC, datetime
from typing import Final

from msgspec import Struct

_SEQUENCE: Final = 0x30
_SET: Final = 0x31
_VERSION: Final = 0xA0
_OBJECT_ID: Final = 0x06
_UTC_TIME: Final = 0x17
_GENERALIZED_TIME: Final = 0x18
_COMMON_NAME: Final = b"\x55\x04\x03"
_LENGTH_BYTES_MAX: Final = 4
_DAY_S: Final = 86_400
_BEGIN: Final = "-----BEGIN CERTIFICATE-----"
_END: Final = "-----END CERTIFICATE-----"


class Certificate(Struct, frozen=True):
    """Whose it is, and until when."""

    common_name: str
    not_after_unix: float

    def days_left(self, now_unix: float) -> float:
        """Tell how long it is valid from now; negative once it has ended."""
        return (self.not_after_unix - now_unix) / _DAY_S


def from_pem(text: str) -> Certificate:
    """Read the first certificate of a PEM file, which is the file's own.

    Raises:
        ValueError: It is no certificate, or none that can be read.
    """
    begin = text.find(_BEGIN)
    end = text.find(_END, begin)
    if begin < 0 or end < 0:
        raise ValueError("it has no certificate")
    return from_der(ssl.PEM_cert_to_DER_cert(text[begin : end + len(_END)]))


def from_der(der: bytes) -> Certificate:
    """Read a certificate [RFC 5280 4.1].

    Raises:
        ValueError: It is no certificate.
    """
    certificate, _ = _take(der, _SEQUENCE)
    fields, _ = _take(certificate, _SEQUENCE)
    if fields[:1] == bytes([_VERSION]):
        fields = _skip(fields)
    for _ in range(3):  # Serial number, signature algorithm, issuer.
        fields = _skip(fields)
    validity, fields = _take(fields, _SEQUENCE)
    subject, _ = _take(fields, _SEQUENCE)
    return Certificate(_common_name(subject), _time(_skip(validity)))


def _element(data: bytes) -> tuple[int, bytes, bytes]:
    """Split off one element: (tag, content, what follows)."""
    if len(data) < 2:  # noqa: PLR2004  A tag and a length.
        raise ValueError("it ends too early")
    tag, length, at = data[0], data[1], 2
    if length & 0x80:
        count = length & 0x7F
        if not 0 < count <= _LENGTH_BYTES_MAX:
            raise ValueError("it is not DER")
        length = int.from_bytes(data[2 : 2 + count], "big")
        at += count
    if at + length > len(data):
        raise ValueError("it ends too early")
    return tag, data[at : at + length], data[at + length :]


def _take(data: bytes, expected: int) -> tuple[bytes, bytes]:
    tag, content, rest = _element(data)
    if tag != expected:
        raise ValueError(f"it has tag {tag:#x} where {expected:#x} belongs")
    return content, rest


def _skip(data: bytes) -> bytes:
    return _element(data)[2]


def _common_name(subject: bytes) -> str:
    while subject:
        names, subject = _take(subject, _SET)
        while names:
            pair, names = _take(names, _SEQUENCE)
            object_id, value = _take(pair, _OBJECT_ID)
            if object_id == _COMMON_NAME:
                return _element(value)[1].decode("utf-8", "backslashreplace")
    return ""


def _time(data: bytes) -> float:
    tag, content, _ = _element(data)
    if tag not in (_UTC_TIME, _GENERALIZED_TIME):
        raise ValueError("its validity is no time")
    text = content.decode("ascii")
    if tag == _UTC_TIME:
        # Two digits of the year: 50 to 99 are of the last century [RFC 5280 4.1.2.5.1].
        text = ("19" if text[:2] >= "50" else "20") + text
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()
