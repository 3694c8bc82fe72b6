"""Parses host names and URLs as users write them.

Error messages never quote a text that may hold a password: a malformed address may well have its password where the
host or the port belongs.
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

    from rabibridge_core.settings.transports import TransportCatalog, TransportDeclaration

__all__ = ["ParsedURL", "is_encodable", "parse_hosts", "parse_urls"]

_TLS_PARAMETERS = re.compile(r"ca.*|cert.*|key.*|.*verify.*|ssl.*|tls.*|ciphers|server_name.*", re.IGNORECASE)
_TLS_ADVICE = "give the authority that has issued it, or an ssl.SSLContext as ssl="
_ENCODE = "Write the characters @ : / ? # % and , of a user name, password or virtual host percent-encoded (@ as %40)."


@dataclass(frozen=True, slots=True)
class ParsedURL:
    """The parts of one URL; ``None`` stands for a part that is missing."""

    scheme: str
    host: str
    port: int | None = None
    username: str | None = None
    password: Secret | None = None
    virtualhost: str | None = None
    parameters: tuple[tuple[str, str], ...] = ()


def parse_hosts(value: object, source: str) -> list[tuple[str, int | None]]:
    """Parse ``"a,b:1234"`` or a list of such texts into pairs of host and port (or None), in the order given.

    Args:
        value: what the user gave.
        source: where it was given, for the error message.

    Raises:
        ConfigurationError: it holds no host, or a malformed one.
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


def parse_urls(
    value: object, source: str, transports: TransportCatalog
) -> tuple[TransportDeclaration, list[ParsedURL]]:
    """Parse one URL, a comma-separated list of URLs, or a list of them, in the order given.

    Args:
        value: what the user gave.
        source: where it was given, for the error message.
        transports: the installed transports.

    Returns:
        The transport that the URLs belong to, and their parts.

    Raises:
        ConfigurationError: a URL is malformed or has a query parameter that its transport does not know, or the URLs
            belong to different transports.
    """
    # A comma may stand unencoded in a password: only one in front of another scheme separates URLs.
    split = re.compile(r",\s*(?=[A-Za-z][A-Za-z0-9+.-]*://)").split
    urls = [url.strip() for text in _texts(value, "url", source) for url in split(text)]
    if not urls or not all(urls):
        raise ConfigurationError(f"url is empty (from {source}); give a URL, or several separated by commas")
    many = len(urls) > 1
    found = [
        _parse_url(url, f"the URL{f' number {number} of {len(urls)}' if many else ''} (from {source})", transports)
        for number, url in enumerate(urls, 1)
    ]
    first = found[0][0]
    if any(url.scheme not in first.schemes for _, url in found):
        raise ConfigurationError(
            f"the URLs (from {source}) mix transports; all URLs of a list must be for the same one"
        )
    return first, [url for _, url in found]


def _texts(value: object, name: str, source: str) -> Sequence[str]:
    items: Sequence[object] = value if isinstance(value, list | tuple) else [value]
    texts = [item for item in items if isinstance(item, str)]
    if len(texts) != len(items):
        raise ConfigurationError(f"{name} is not a text or a list of texts (from {source})")
    return texts


def _parse_url(url: str, where: str, transports: TransportCatalog) -> tuple[TransportDeclaration, ParsedURL]:
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = None
    # Raised outside the except block, so that not even __context__ holds the library's message: it may quote the
    # password.
    if parts is None or not is_encodable(url) or any(char.isspace() for char in url):
        raise ConfigurationError(f"{where} is malformed. {_ENCODE}")
    if not parts.scheme or not url[len(parts.scheme) :].startswith("://"):
        known = ", ".join(f"{scheme}://" for scheme in transports.schemes) or "none"
        raise ConfigurationError(f"{where} does not begin with the scheme of a transport; installed: {known}")
    if "@" in parts.path + parts.query + parts.fragment or parts.fragment:
        raise ConfigurationError(f"{where} has an @ or # in the wrong place. {_ENCODE}")

    transport = transports.for_scheme(parts.scheme)
    userinfo, _, address = parts.netloc.rpartition("@")
    username, _, password = userinfo.partition(":")
    if "," in address:
        raise ConfigurationError(f"{where} has a comma in its host: give several whole URLs, separated by commas")
    optional = "host" not in transport.required
    host, port = _host_and_port(unquote(address), f"the host of {where}", optional=optional)
    return transport, ParsedURL(
        scheme=parts.scheme,
        host=host,
        port=port,
        username=_decode(username, where) or None,
        password=Secret(_decode(password, where)) if password else None,
        virtualhost=_decode(parts.path[1:], where) or None,
        parameters=_parameters(parts.query, where, transport),
    )


def _decode(text: str, where: str) -> str:
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        pass
    raise ConfigurationError(f"{where} has percent-encoded bytes that are not UTF-8. {_ENCODE}")


def _parameters(query: str, where: str, transport: TransportDeclaration) -> tuple[tuple[str, str], ...]:
    given = dict(parse_qsl(query, keep_blank_values=True))
    for name, fixed in transport.fixed_parameters.items():
        if given.pop(name, fixed) != fixed:
            raise ConfigurationError(
                f"{where} has another {name} than {fixed}: certificates and host names are always verified. Leave "
                f"{name} out; {_TLS_ADVICE}"
            )
    allowed = transport.url_parameters
    known = ", ".join(map(repr, [*allowed, *transport.fixed_parameters])) or "none"
    for name in given.keys() - allowed.keys():
        if transport.tls_schemes and _TLS_PARAMETERS.fullmatch(name):
            secure = " or ".join(f"{scheme}://" for scheme in transport.tls_schemes.values())
            raise ConfigurationError(
                f"{where} has the query parameter {name!r}; allowed: {known}. Use {secure}, which always verifies "
                f"certificates and host names; if a certificate is not accepted, {_TLS_ADVICE}"
            )
        raise ConfigurationError(f"{where} has the unknown query parameter {name!r}; allowed: {known}")
    return tuple(given.items())


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
        raise ConfigurationError(
            f"{where} is not a host name or an address; write an IPv6 address and a port as [::1]:1234"
        )
    # The longest name that DNS has; a name of a broker in memory may be longer.
    if not optional and not _is_resolvable(host):
        raise ConfigurationError(
            f"{where} is not a name that can be looked up: at most 253 characters, with 1 to 63 between two dots"
        )
    if port is None:
        return host, None
    if not re.fullmatch(r"[0-9]{1,5}", port) or not 1 <= int(port) <= 65535:
        raise ConfigurationError(f"{where} has a port that is not a number from 1 to 65535")
    return host, int(port)


def is_encodable(text: str) -> bool:
    """Tell whether a text can be sent as UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_resolvable(host: str) -> bool:
    try:
        return ":" in host or len(host.encode("idna")) <= 253
    except UnicodeError:
        return False


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True
