"""Reads what a certificate in PEM says of itself: whose it is and for how long it is valid.

The module ``ssl`` tells that only of certificates that it has verified on a connection.
"""

from __future__ import annotations

import calendar
import re
import ssl
import time
from pathlib import Path
from typing import NamedTuple

__all__ = ["Certificate", "parse_certificate", "read_certificate"]

_PEM = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_COMMON_NAME = b"\x55\x04\x03"
"""The object identifier 2.5.4.3 (RFC 5280, appendix A.1)."""
_UTC_TIME, _BMP_STRING, _VERSION = 0x17, 0x1E, 0xA0


class Certificate(NamedTuple):
    """What a certificate says.

    Attributes:
        common_name: the last common name of its subject; empty if it has none.
        not_after: the end of its validity, in seconds since the epoch.
    """

    common_name: str
    not_after: float


def read_certificate(path: str) -> Certificate | None:
    """Return what the first certificate of a file says; ``None`` if the file holds none that can be read."""
    try:
        found = _PEM.search(Path(path).read_text(encoding="latin-1"))
        return parse_certificate(ssl.PEM_cert_to_DER_cert(found[0])) if found else None
    except (OSError, ValueError):
        return None


def parse_certificate(der: bytes) -> Certificate:
    """Return what a certificate in DER says (RFC 5280, section 4.1).

    Raises:
        ValueError: it is none.
    """
    try:
        (body, *_) = _items(_items(der)[0][1])
        fields = _items(body[1])
        if fields[0][0] == _VERSION:
            fields = fields[1:]
        _serial, _algorithm, _issuer, validity, subject = (content for _, content in fields[:5])
        return Certificate(_common_name(subject), _time_of(*_items(validity)[1]))
    except IndexError:
        raise ValueError("it ends early") from None


def _items(data: bytes) -> list[tuple[int, bytes]]:
    """Return the tag and the content of each element of a sequence."""
    found, at = [], 0
    while at < len(data):
        tag, size, at = data[at], data[at + 1], at + 2
        if size & 0x80:
            count = size & 0x7F
            size, at = int.from_bytes(data[at : at + count], "big"), at + count
        if at + size > len(data):
            raise ValueError("it ends early")
        found.append((tag, data[at : at + size]))
        at += size
    return found


def _common_name(subject: bytes) -> str:
    name = ""
    for _, attributes in _items(subject):
        for _, pair in _items(attributes):
            (_, kind), (tag, value) = _items(pair)[:2]
            if kind == _COMMON_NAME:
                name = value.decode("utf-16-be" if tag == _BMP_STRING else "utf-8", "replace")
    return name


def _time_of(tag: int, content: bytes) -> float:
    text = content.decode("ascii")
    if tag == _UTC_TIME:  # its years are 1950 to 2049
        text = ("20" if text[:2] < "50" else "19") + text
    return float(calendar.timegm(time.strptime(text, "%Y%m%d%H%M%SZ")))
