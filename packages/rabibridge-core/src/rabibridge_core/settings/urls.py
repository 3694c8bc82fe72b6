"""Reads what users write for an address: host names and URLs.

A text that may hold a password is never quoted in an error: an address that is written wrongly may well have its
password where the host or the port should be.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote, urlsplit

from rabibridge_core.errors import ConfigurationError
from rabibridge_core.settings.endpoints import Secret

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["BROKER_SCHEMES", "ParsedURL", "parse_hosts", "parse_urls"]

BROKER_SCHEMES = {"amqp": 5672, "amqps": 5671}
"""The schemes that need a host, a port and credentials, with the port that each stands for."""

_TLS_PARAMETERS = re.compile(r"ca.*|cert.*|key.*|.*verify.*|ssl.*|tls.*|ciphers|server_name.*", re.IGNORECASE)
_ENCODE = "Write the characters @ : / ? # % and , of a user name, password or virtual host percent-encoded (@ as %40)."


@dataclass(frozen=True, slots=True)
class ParsedURL:
    """What one URL says; ``None`` is what it leaves out."""

    scheme: str
    host: str
    port: int | None = None
    username: str | None = None
    password: Secret | None = None
    virtualhost: str | None = None
    heartbeat: str | None = None


def parse_hosts(value: object, source: str) -> list[tuple[str, int | None]]:
    """Read ``"a,b:5673"`` or a list of such texts into (host, port or None) pairs, in the order given.

    Args:
        value: what the user gave.
        source: where it was given, for the error's text.

    Raises:
        ConfigurationError: there is no host in it, or one is written wrongly.
    """
    hosts = [host.strip() for text in _texts(value, "host", source) for host in text.split(",")]
    if not hosts or not all(hosts):
        raise ConfigurationError(f"host holds an empty name (from {source}); give one host, or several as 'a,b'")
    if any(mark in host for host in hosts for mark in "@/"):
        raise ConfigurationError(
            f"host is not a plain host name (from {source}): a URL, with its user name and password, goes into url= "
            "or RABIBRIDGE_URL"
        )
    return [_host_and_port(host, f"host {host!r} (from {source})") for host in hosts]


def parse_urls(value: object, source: str) -> list[ParsedURL]:
    """Read one URL, a comma-separated list of URLs, or a list of them, in the order given.

    Args:
        value: what the user gave.
        source: where it was given, for the error's text.

    Raises:
        ConfigurationError: a URL is malformed or has query parameters other than ``heartbeat``, or brokers are mixed
            with other schemes.
    """
    # A comma inside a password need not break the list: only one before another scheme separates.
    split = re.compile(r",\s*(?=[A-Za-z][A-Za-z0-9+.-]*://)").split
    urls = [url.strip() for text in _texts(value, "url", source) for url in split(text)]
    if not urls or not all(urls):
        raise ConfigurationError(f"url is empty (from {source})")
    many = len(urls) > 1
    parsed = [
        _parse_url(url, f"the URL{f' number {number} of {len(urls)}' if many else ''} (from {source})")
        for number, url in enumerate(urls, 1)
    ]
    if len({"amqp" if url.scheme in BROKER_SCHEMES else url.scheme for url in parsed}) > 1:
        raise ConfigurationError(f"the URLs (from {source}) mix transports; one list is for one transport")
    return parsed


def _texts(value: object, name: str, source: str) -> Sequence[str]:
    items: Sequence[object] = value if isinstance(value, list | tuple) else [value]
    texts = [item for item in items if isinstance(item, str)]
    if len(texts) != len(items):
        raise ConfigurationError(f"{name} must be a text or a list of texts (from {source})")
    return texts


def _parse_url(url: str, where: str) -> ParsedURL:
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = None
    # Raised out here, so that not even __context__ holds the library's message: it may quote the password.
    if parts is None or any(char.isspace() for char in url):
        raise ConfigurationError(f"{where} is malformed. {_ENCODE}")
    if not parts.scheme or not url[len(parts.scheme) :].startswith("://"):
        raise ConfigurationError(f"{where} must begin with amqp://, amqps:// or memory://")
    if "@" in parts.path + parts.query + parts.fragment or parts.fragment:
        raise ConfigurationError(f"{where} has an @ or # in the wrong place. {_ENCODE}")

    userinfo, _, address = parts.netloc.rpartition("@")
    username, _, password = userinfo.partition(":")
    if "," in address:
        raise ConfigurationError(f"{where} has a comma in its host: give several whole URLs, separated by commas")
    host, port = _host_and_port(unquote(address), f"the host of {where}", optional=parts.scheme not in BROKER_SCHEMES)
    return ParsedURL(
        scheme=parts.scheme,
        host=host,
        port=port,
        username=_decode(username, where) or None,
        password=Secret(_decode(password, where)) if password else None,
        virtualhost=_decode(parts.path[1:], where) or None,
        heartbeat=_heartbeat(parts.query, where),
    )


def _decode(text: str, where: str) -> str:
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        pass
    raise ConfigurationError(f"{where} has percent-encoded bytes that are not UTF-8. {_ENCODE}")


def _heartbeat(query: str, where: str) -> str | None:
    given = dict(parse_qsl(query, keep_blank_values=True))
    heartbeat = given.pop("heartbeat", None)
    for name in given:
        if _TLS_PARAMETERS.fullmatch(name):
            raise ConfigurationError(
                f"{where} has the query parameter {name!r}: TLS is not set up in a URL. Use amqps://, and give "
                "an ssl.SSLContext as ssl= where the default (system certificates, host name checked) does not fit"
            )
        raise ConfigurationError(f"{where} has the unknown query parameter {name!r}; only 'heartbeat' is allowed")
    return heartbeat


def _host_and_port(text: str, where: str, *, optional: bool = False) -> tuple[str, int | None]:
    bracketed = re.fullmatch(r"\[([^\[\]]*)\](?::(.*))?", text)
    if bracketed or text.count(":") > 1:
        host, port = bracketed.groups() if bracketed else (text, None)
        valid = _is_ipv6(host)
    else:
        host, colon, digits = text.partition(":")
        port = digits if colon else None
        valid = bool(re.fullmatch(r"[^\s/@?#%\[\]]+", host)) or (optional and not text)
    if not valid:
        raise ConfigurationError(f"{where} is not a host name or an address (an IPv6 address with a port: [::1]:5672)")
    if port is None:
        return host, None
    if not re.fullmatch(r"[0-9]{1,5}", port) or not 1 <= int(port) <= 65535:
        raise ConfigurationError(f"{where} has a port that is not a number from 1 to 65535")
    return host, int(port)


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True
