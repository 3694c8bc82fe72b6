"""The connection part of the settings: which brokers to connect to, out of URLs or of single fields."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rabibridge_core.errors import ConfigurationError
from rabibridge_core.settings.endpoints import Endpoint, Secret
from rabibridge_core.settings.sources import SourcedValue, Sources, switch
from rabibridge_core.settings.urls import BROKER_SCHEMES, ParsedURL, parse_hosts, parse_urls

if TYPE_CHECKING:
    import ssl as _ssl

__all__ = ["CONNECTION", "ConnectionSettings", "resolve_endpoints"]

CONNECTION = ("host", "port", "username", "password", "virtualhost", "ssl")
"""The fields of a connection: arguments by these names, ``RABBITMQ_<NAME>`` elsewhere."""

_NEEDED = ("host", "port", "username", "password")
_EXAMPLE = "amqp://user:password@host:5672/virtualhost"


@dataclass(frozen=True, slots=True)
class ConnectionSettings:
    """What the settings say of brokers; ``problem`` tells what is missing, and then ``endpoints`` is empty."""

    endpoints: tuple[Endpoint, ...] = ()
    heartbeat: SourcedValue | None = None
    problem: str = ""


def resolve_endpoints(sources: Sources) -> ConnectionSettings:
    """Take the URL argument, else RABIBRIDGE_URL, else the single fields, else CLOUDAMQP_URL.

    Raises:
        ConfigurationError: something is malformed or contradictory. What is merely missing comes back as ``problem``.
    """
    given = {name: found for name in CONNECTION if (found := _field(sources, name))}
    url = sources.argument("url") or sources.variable("RABIBRIDGE_URL")
    if url is None and "host" not in given:
        url = sources.variable("CLOUDAMQP_URL")
    if url is None:
        return _from_fields(sources, given)
    return _from_urls(url, {name: found for name, found in given.items() if found.rank == 0})


def _field(sources: Sources, name: str) -> SourcedValue | None:
    key = f"RABBITMQ_{name.upper()}"
    return sources.find(name, [key], "rabbitmq", [key])


def _from_fields(sources: Sources, given: dict[str, SourcedValue]) -> ConnectionSettings:
    hosts = parse_hosts(given["host"].value, given["host"].source) if "host" in given else []
    port = _port(given.get("port"))
    texts = {name: _text(name, given.get(name)) for name in ("username", "password", "virtualhost")}
    ssl = _ssl_setting(given.get("ssl"))

    missing = [name for name in _NEEDED if name not in given]
    if hosts and all(own for _, own in hosts) and "port" in missing:
        missing.remove("port")
    if missing:
        return ConnectionSettings(problem=_missing(missing, sources))
    password = given["password"]
    if password.rank == 2 and sources.key("secret", "SECRET"):
        return ConnectionSettings(problem=_encrypted(password))

    # A port behind a host belongs to that host, unless a stronger place than the host's names another port.
    override = port if port and given["port"].rank < given["host"].rank else None
    template = Endpoint(
        host="",
        username=texts["username"],
        password=Secret(texts["password"]),
        virtualhost=texts["virtualhost"] or "/",
        scheme="amqps" if ssl else "amqp",
        ssl=ssl or None,
    )
    return ConnectionSettings(
        tuple(replace(template, host=host, port=override or own or port or 0) for host, own in hosts)
    )


def _from_urls(url: SourcedValue, arguments: dict[str, SourcedValue]) -> ConnectionSettings:
    urls = parse_urls(url.value, url.source)
    _refuse_conflicts(url, urls, arguments)
    port = _port(arguments.get("port"))
    username, password, virtualhost = (
        _text(name, arguments.get(name)) for name in ("username", "password", "virtualhost")
    )
    urls = [
        replace(
            one,
            port=port or one.port,
            username=username or one.username,
            password=Secret(password) if password else one.password,
            virtualhost=virtualhost or one.virtualhost,
        )
        for one in urls
    ]
    if host := arguments.get("host"):
        if len({replace(one, host="") for one in urls}) > 1:
            raise ConfigurationError(
                f"{host.source} cannot replace the hosts of {url.source}: those URLs differ in more than the host"
            )
        hosts = parse_hosts(host.value, host.source)
        urls = [replace(urls[0], host=name, port=own or urls[0].port) for name, own in hosts]

    ssl = arguments.get("ssl")
    bare = [number for number, one in enumerate(urls, 1) if one.scheme in BROKER_SCHEMES and not _can_log_in(one)]
    if bare:
        return ConnectionSettings(problem=_no_credentials(url, bare, len(urls)))
    return ConnectionSettings(tuple(_endpoint(one, ssl, url) for one in urls), _heartbeat(urls, url))


def _refuse_conflicts(url: SourcedValue, urls: list[ParsedURL], arguments: dict[str, SourcedValue]) -> None:
    if url.rank == 0:
        clash = [name for name in _NEEDED if name in arguments]
        virtualhost = arguments.get("virtualhost")
        if virtualhost and any(one.virtualhost not in (None, virtualhost.value) for one in urls):
            clash.append("virtualhost")
        advice = "give one or the other"
    else:
        clash = [] if all(one.scheme in BROKER_SCHEMES for one in urls) else list(arguments)
        advice = "the URL names no broker to log in to; leave the arguments out, or change the variable"
    if clash:
        names = ", ".join(f"{name}=" for name in clash)
        raise ConfigurationError(f"{url.source} and {names} contradict each other: {advice}")


def _can_log_in(url: ParsedURL) -> bool:
    return bool(url.username and url.password)


def _endpoint(url: ParsedURL, ssl: SourcedValue | None, source: SourcedValue) -> Endpoint:
    context = _ssl_setting(ssl)
    scheme = url.scheme
    if scheme == "amqps" and context is False:
        raise ConfigurationError(f"ssl=False contradicts amqps:// in {source.source}; use amqp:// for no TLS")
    if scheme not in BROKER_SCHEMES and context is not None:
        raise ConfigurationError(f"ssl= contradicts {scheme}:// in {source.source}: there is no TLS to set up")
    if scheme == "amqps" or context:
        scheme, context = "amqps", context or True
    return Endpoint(
        host=url.host,
        port=url.port or BROKER_SCHEMES.get(scheme, 0),
        username=url.username or "",
        password=url.password or Secret(""),
        virtualhost=url.virtualhost or "/",
        scheme=scheme,
        ssl=context or None,
    )


def _heartbeat(urls: list[ParsedURL], url: SourcedValue) -> SourcedValue | None:
    values = {one.heartbeat for one in urls} - {None}
    if len(values) > 1:
        raise ConfigurationError(f"the URLs of {url.source} ask for different heartbeats; there is one for all of them")
    return SourcedValue(values.pop(), f"the query parameter heartbeat of {url.source}", url.rank) if values else None


def _port(found: SourcedValue | None) -> int | None:
    if found is None:
        return None
    digits = str(found.value).strip()
    if not re.fullmatch("[0-9]{1,5}", digits) or not 1 <= int(digits) <= 65535:
        raise ConfigurationError(f"port is {found.value!r} (from {found.source}); allowed: a number from 1 to 65535")
    return int(digits)


def _text(name: str, found: SourcedValue | None) -> str:
    if found is None:
        return ""
    value = found.value.reveal() if isinstance(found.value, Secret) else found.value
    if not isinstance(value, str):
        raise ConfigurationError(f"{name} is not a text (from {found.source}); in a file, write it in quotes")
    return value


def _ssl_setting(found: SourcedValue | None) -> _ssl.SSLContext | bool | None:
    if found is None:
        return None
    import ssl

    value: object = found.value
    if found.rank == 0 and isinstance(value, ssl.SSLContext):
        return value
    try:
        return switch(value)
    except KeyError:
        pass
    raise ConfigurationError(
        f"ssl is {found.value!r} (from {found.source}); allowed: true, false, or, as an argument, an ssl.SSLContext"
    )


def _missing(names: list[str], sources: Sources) -> str:
    lines = [
        f"  {name}: the argument {name}=, the environment variable RABBITMQ_{name.upper()}, "
        f"or RABBITMQ_{name.upper()} under [rabbitmq] in a configuration file"
        for name in names
    ]
    return "\n".join(
        [
            f"RabiBridge does not know the {', '.join(names)} of RabbitMQ. Give each in one of three places:",
            *lines,
            f"or all at once as a URL, url= or RABIBRIDGE_URL: {_EXAMPLE}",
            sources.file_note,
        ]
    )


def _no_credentials(url: SourcedValue, numbers: list[int], count: int) -> str:
    which = f" (URL number {', '.join(map(str, numbers))} of {count})" if count > 1 else ""
    also = "" if url.rank == 0 else ", or give them as the arguments username= and password="
    return (
        f"{url.source} has no user name and password{which}; write them into the URL: {_EXAMPLE}{also}. There is no "
        "fallback to guest, nor to RABBITMQ_USERNAME and RABBITMQ_PASSWORD or the configuration file: a URL stands "
        "for the whole connection. Characters such as @ : / # must be percent-encoded in it"
    )


def _encrypted(password: SourcedValue) -> str:
    return (
        f"the file has [secret] SECRET, so the password ({password.source}) seems to be encrypted as RabiBridge 0.1.2 "
        "did it, and encrypted passwords are not supported: the key beside them protected nothing. Put the plain "
        "password into the environment variable RABBITMQ_PASSWORD, or into the file without [secret]"
    )
