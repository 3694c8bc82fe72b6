"""The connection part of the settings: which brokers to connect to, from URLs or from single fields."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from rabibridge_core.errors import ConfigurationError
from rabibridge_core.settings.connection_errors import (
    missing_fields,
    no_credentials,
    no_transport,
    url_needed,
)
from rabibridge_core.settings.connection_values import parameters_of, port_of, ssl_of, text_of
from rabibridge_core.settings.endpoints import Endpoint, Secret
from rabibridge_core.settings.fields import rules_of
from rabibridge_core.settings.origins import Rank, SourcedValue
from rabibridge_core.settings.secret_reading import readable, readable_password, revealed
from rabibridge_core.settings.sources import secret_from_file
from rabibridge_core.settings.transports import CONNECTION_FIELDS
from rabibridge_core.settings.urls import ParsedURL, parse_hosts, parse_urls

if TYPE_CHECKING:
    import ssl as _ssl
    from collections.abc import Mapping

    from rabibridge_core.settings.sources import Sources
    from rabibridge_core.settings.transports import TransportCatalog, TransportDeclaration

__all__ = ["ConnectionSettings", "resolve_connection"]

_PASSWORD_FILE = "RABIBRIDGE_PASSWORD_FILE"  # noqa: S105 - the name of a variable
_REQUIRABLE = ("host", "port", "username", "password")


@dataclass(frozen=True, slots=True)
class ConnectionSettings:
    """The brokers to connect to, and the transport that connects.

    Attributes:
        transport: declaration of the transport; ``None`` if no installed one can be meant.
        endpoints: the brokers; empty if there is a ``problem``.
        parameters: values of the transport's own settings from the query of the URLs, by name.
        given: the URL, and the single fields that are used, as they were given.
        problem: what is missing, as text for an error.
    """

    transport: TransportDeclaration | None
    endpoints: tuple[Endpoint, ...] = ()
    parameters: Mapping[str, SourcedValue] = field(default_factory=dict)
    given: Mapping[str, SourcedValue] = field(default_factory=dict)
    problem: str = ""


def resolve_connection(sources: Sources, transports: TransportCatalog, name: str | None) -> ConnectionSettings:
    """Take the URL argument, else RABIBRIDGE_URL, else the single fields, else the transport's variables for a URL.

    Args:
        sources: where to look.
        transports: the installed transports.
        name: the transport that single fields are for; ``None``: the only one that has such fields.

    Raises:
        ConfigurationError: something is malformed or contradictory. What is merely missing comes back as ``problem``.
    """
    arguments = {key: value for key in CONNECTION_FIELDS if (value := sources.argument(key))}
    url = sources.argument("url") or sources.variable("RABIBRIDGE_URL")
    if url is not None:
        return _from_urls(url, arguments, transports, sources)
    transport = transports.for_fields(name)
    if transport is None:
        return ConnectionSettings(None, problem=no_transport(name, transports, sources))
    given = arguments | _configured(sources, transport, arguments)
    if "host" not in given:
        url = next(filter(None, map(sources.variable, transport.url_variables)), None)
        if url is not None:
            return _from_urls(url, arguments, transports, sources)
    if not transport.variable_prefix:
        return ConnectionSettings(transport, problem=url_needed(transport))
    return _from_fields(sources, transport, given)


def _configured(
    sources: Sources, transport: TransportDeclaration, arguments: Mapping[str, SourcedValue]
) -> dict[str, SourcedValue]:
    if not transport.variable_prefix:
        return {}
    keys = {name: transport.variable(name) for name in CONNECTION_FIELDS if name not in arguments}
    found = {name: sources.find([key], transport.name, [key]) for name, key in keys.items() if name != "password"}
    if "password" in keys:
        key = keys["password"]
        found["password"] = sources.find_secret([key], transport.name, [key], [_PASSWORD_FILE])
    return {name: value for name, value in found.items() if value}


def _from_fields(
    sources: Sources, transport: TransportDeclaration, given: Mapping[str, SourcedValue]
) -> ConnectionSettings:
    hosts = parse_hosts(given["host"].value, given["host"].source) if "host" in given else []
    port = port_of(given.get("port"))
    texts = {name: text_of(name, given.get(name)) for name in ("username", "password", "virtualhost")}
    ssl = given.get("ssl")
    scheme, context = _secured(transport, transport.default_scheme, ssl, ssl.source if ssl else "")

    required = {"host", *_required(transport, sources, {})}
    missing = [name for name in _REQUIRABLE if name not in given and name in required]
    if hosts and all(own for _, own in hosts) and "port" in missing:
        missing.remove("port")
    if missing:
        return ConnectionSettings(transport, given=given, problem=missing_fields(missing, transport, sources))
    try:
        password = given.get("password") and readable_password(given["password"], sources, transport)
    except ConfigurationError as error:
        return ConnectionSettings(transport, given=given, problem=str(error))

    # The port in "host:port" is for that host, unless a place that takes precedence over the host's gives another port.
    override = port if port and given["port"].rank < given["host"].rank else None
    template = Endpoint(
        host="",
        username=texts["username"],
        password=Secret(text_of("password", password)),
        virtualhost=_virtualhost(transport, texts["virtualhost"], given.get("virtualhost")),
        scheme=scheme,
        ssl=context,
    )
    default = port or transport.schemes[scheme]
    endpoints = tuple(replace(template, host=host, port=override or own or default) for host, own in hosts)
    return ConnectionSettings(transport, endpoints, given=given)


def _from_urls(
    url: SourcedValue, arguments: Mapping[str, SourcedValue], transports: TransportCatalog, sources: Sources
) -> ConnectionSettings:
    transport, urls = parse_urls(url.value, url.source, transports)
    _refuse_conflicts(transport, url, urls, arguments)
    if transport.is_networked and "password" not in arguments and (file := sources.variable(_PASSWORD_FILE)):
        arguments = {**arguments, **_password_from_file(file, url, urls)}
    port = port_of(arguments.get("port"))
    if given := arguments.get("password"):
        arguments = {**arguments, "password": readable(given, sources)}
    username, password, virtualhost = (
        text_of(name, arguments.get(name)) for name in ("username", "password", "virtualhost")
    )
    urls = [
        replace(
            one,
            port=port or one.port,
            username=username or one.username,
            password=Secret(password) if password else _of_url(one, url, sources),
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

    parameters = parameters_of(urls, url, transport.url_parameters)
    required = _required(transport, sources, parameters)
    incomplete = [number for number, one in enumerate(urls, 1) if not _has_login(one, required)]
    if incomplete:
        problem = no_credentials(transport, url, incomplete, len(urls))
        return ConnectionSettings(transport, given={"url": url, **arguments}, problem=problem)
    endpoints = tuple(_endpoint(one, arguments, url, transport) for one in urls)
    return ConnectionSettings(transport, endpoints, parameters, {"url": url, **arguments})


def _password_from_file(file: SourcedValue, url: SourcedValue, urls: list[ParsedURL]) -> dict[str, SourcedValue]:
    """Return the password for URLs that have none. A URL that was given as an argument with one keeps it."""
    if not any(one.password for one in urls):
        return {"password": secret_from_file(file)}
    if url.rank == file.rank:
        raise ConfigurationError(
            f"{url.source} has a password, and {file.source} names a file with one: remove one of them"
        )
    return {}


def _of_url(one: ParsedURL, url: SourcedValue, sources: Sources) -> Secret | None:
    if one.password is None:
        return None
    return Secret(str(revealed(readable(SourcedValue(one.password, url.origin), sources).value)))


def _refuse_conflicts(
    transport: TransportDeclaration, url: SourcedValue, urls: list[ParsedURL], arguments: Mapping[str, SourcedValue]
) -> None:
    if url.rank < Rank.VARIABLE:
        clash = [name for name in _REQUIRABLE if name in arguments]
        virtualhost = arguments.get("virtualhost")
        if virtualhost and any(one.virtualhost not in (None, virtualhost.value) for one in urls):
            clash.append("virtualhost")
        advice = "give one or the other"
    else:
        clash = [] if transport.is_networked else list(arguments)
        advice = "the URL names no broker to log in to; leave the arguments out, or change the variable"
    if clash:
        names = ", ".join(f"{name}=" for name in clash)
        raise ConfigurationError(f"{url.source} and {names} contradict each other: {advice}")


def _required(
    transport: TransportDeclaration, sources: Sources, parameters: Mapping[str, SourcedValue]
) -> tuple[str, ...]:
    """Return which fields of the connection must be given, with the other settings as they are."""
    for name, value in transport.no_login_if.items():
        rule = rules_of(transport.settings)[name]
        found = sources.setting(name, rule, parameters)
        if found and rule.check(name, found.value, found.source) == value:
            return tuple(field for field in transport.required if field not in ("username", "password"))
    return transport.required


def _has_login(url: ParsedURL, required: tuple[str, ...]) -> bool:
    given = {"username": url.username, "password": url.password}
    return all(given[name] for name in required if name in given)


def _endpoint(
    url: ParsedURL, arguments: Mapping[str, SourcedValue], source: SourcedValue, transport: TransportDeclaration
) -> Endpoint:
    scheme, context = _secured(transport, url.scheme, arguments.get("ssl"), source.source)
    return Endpoint(
        host=url.host,
        port=url.port or transport.schemes[scheme],
        username=url.username or "",
        password=url.password or Secret(""),
        virtualhost=_virtualhost(transport, url.virtualhost, arguments.get("virtualhost") or source),
        scheme=scheme,
        ssl=context,
    )


def _secured(
    transport: TransportDeclaration, scheme: str, ssl: SourcedValue | None, source: str
) -> tuple[str, _ssl.SSLContext | bool | None]:
    """Return the scheme to use and what to use for TLS, out of a scheme and the setting ``ssl``."""
    context = ssl_of(ssl)
    if transport.is_tls(scheme):
        if context is False:
            plain = transport.without_tls(scheme)
            raise ConfigurationError(f"ssl=False contradicts {scheme}:// in {source}; use {plain}:// for no TLS")
        return scheme, context or True
    secured = transport.tls_schemes.get(scheme)
    if context is not None and not transport.is_networked:
        raise ConfigurationError(f"ssl= contradicts {scheme}:// in {source}: there is no TLS to set up")
    if not context:
        return scheme, None
    if secured is None:
        raise ConfigurationError(f"ssl= asks for TLS, which {scheme}:// (from {source}) cannot use; leave ssl out")
    return secured, context


def _virtualhost(transport: TransportDeclaration, given: str | None, source: SourcedValue | None) -> str:
    if not given or source is None:
        return transport.default_virtualhost
    checked: str = transport.virtualhost.check("virtualhost", given, source.source)
    return checked
