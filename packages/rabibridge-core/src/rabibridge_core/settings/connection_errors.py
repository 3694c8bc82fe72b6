"""Error texts for connections that are not fully configured: what is missing, and every place to give it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rabibridge_core.settings.origins import Rank

if TYPE_CHECKING:
    from rabibridge_core.settings.origins import SourcedValue
    from rabibridge_core.settings.sources import Sources
    from rabibridge_core.settings.transports import TransportCatalog, TransportDeclaration

__all__ = ["missing_fields", "no_credentials", "no_transport", "url_needed"]

_WORDS = {"username": "user name", "password": "password"}


def missing_fields(names: list[str], transport: TransportDeclaration, sources: Sources) -> str:
    """Say which fields of a connection are missing, and where each can be given."""
    files = {"password": " or a file that RABIBRIDGE_PASSWORD_FILE names,"}
    lines = [
        f"  {name}: the argument {name}=, the environment variable {key},{files.get(name, '')} "
        f"or {key} under [{transport.name}] in a configuration file"
        for name, key in ((name, transport.variable(name)) for name in names)
    ]
    return "\n".join(
        [
            f"The connection to {transport.name} is not configured: there is no {', '.join(names)}. "
            "Give each in one of three places:",
            *lines,
            f"or all at once as a URL, url= or RABIBRIDGE_URL: {transport.example_url}",
            sources.file_note,
        ]
    )


def no_transport(name: str | None, transports: TransportCatalog, sources: Sources) -> str:
    """Say that nothing tells which transport is meant; ``name`` is the one that was asked for."""
    several = [one.name for one in transports if one.variable_prefix]
    if name is not None:
        installed = ", ".join(one.name for one in transports) or "none"
        reason = f"the transport {name!r} is not installed, or its plug-in cannot be used (installed: {installed})"
    elif several:
        reason = f"several installed transports could be meant ({', '.join(several)}), and transport_name= names none"
    else:
        reason = "no installed transport can be configured without one"
    schemes = ", ".join(f"{scheme}://" for scheme in transports.schemes) or "none"
    return (
        f"no broker is configured: there is no URL, and {reason}. Give a URL, as url= or in the environment variable "
        f"RABIBRIDGE_URL; installed schemes: {schemes}. {sources.file_note}"
    )


def url_needed(transport: TransportDeclaration) -> str:
    """Say that a transport is configured by URL only."""
    variables = " or ".join(["RABIBRIDGE_URL", *transport.url_variables])
    return (
        f"no broker is configured: the transport {transport.name!r} needs a URL; give one as url= or in the "
        f"environment variable {variables}, such as {transport.example_url}"
    )


def no_credentials(transport: TransportDeclaration, url: SourcedValue, numbers: list[int], count: int) -> str:
    """Say that URLs, by their numbers in the list, have no user name or password."""
    which = f" (URL number {', '.join(map(str, numbers))} of {count})" if count > 1 else ""
    required = [name for name in _WORDS if name in transport.required]
    words = " and ".join(_WORDS[name] for name in required)
    arguments = ", ".join(f"{name}=" for name in required)
    also = "" if url.rank < Rank.VARIABLE else f", or give them as arguments: {arguments}"
    if "password" in required:
        also += ", or the password in a file that RABIBRIDGE_PASSWORD_FILE names"
    elsewhere = ""
    if transport.variable_prefix:
        elsewhere = f", nor to {' and '.join(map(transport.variable, required))} or the configuration file"
    return (
        f"{url.source} has no {words}{which}; write them into the URL: {transport.example_url}{also}. There is no "
        f"fallback to a default user{elsewhere}: a URL stands for the whole connection. Characters such as @ : / # "
        "must be percent-encoded in it"
    )
