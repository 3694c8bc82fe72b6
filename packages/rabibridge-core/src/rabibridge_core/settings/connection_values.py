"""Reads single values of a connection: a port, a text, the setting ``ssl``, the query parameters of URLs."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from rabibridge_core.errors import ConfigurationError
from rabibridge_core.settings.fields import parse_boolean
from rabibridge_core.settings.origins import Rank, SourcedValue
from rabibridge_core.settings.secret_reading import revealed
from rabibridge_core.settings.urls import is_encodable

if TYPE_CHECKING:
    import ssl as _ssl
    from collections.abc import Mapping

    from rabibridge_core.settings.urls import ParsedURL

__all__ = ["parameters_of", "port_of", "ssl_of", "text_of"]


def parameters_of(urls: list[ParsedURL], url: SourcedValue, names: Mapping[str, str]) -> dict[str, SourcedValue]:
    """Return the settings that the query parameters of several URLs give, by their name.

    Args:
        urls: the URLs.
        url: where they were given.
        names: the setting that each parameter is.

    Raises:
        ConfigurationError: two URLs give different values of one.
    """
    parameters: dict[str, SourcedValue] = {}
    for name, value in (pair for one in urls for pair in one.parameters):
        known = parameters.setdefault(names[name], SourcedValue(value, replace(url.origin, parameter=name)))
        if known.value != value:
            raise ConfigurationError(
                f"the URLs of {url.source} have different values of {name}; give the same one in all of them, or in one"
            )
    return parameters


def port_of(found: SourcedValue | None) -> int | None:
    """Return a port; raise ConfigurationError for anything else."""
    if found is None:
        return None
    digits = str(found.value).strip()
    if not re.fullmatch("[0-9]{1,5}", digits) or not 1 <= int(digits) <= 65535:
        raise ConfigurationError(f"port is {found.value!r} (from {found.source}); allowed: a number from 1 to 65535")
    return int(digits)


def text_of(name: str, found: SourcedValue | None) -> str:
    """Return the text of the field ``name``, empty if there is none; raise ConfigurationError for anything else."""
    if found is None:
        return ""
    value = revealed(found.value)
    if not isinstance(value, str):
        raise ConfigurationError(f"{name} is not a text (from {found.source}); in a file, write it in quotes")
    # Python reads bytes of the environment that are not UTF-8 as lone surrogates, which no protocol can carry.
    if not is_encodable(value):
        raise ConfigurationError(f"{name} is not valid UTF-8 (from {found.source}); give it as UTF-8 text")
    return value


def ssl_of(found: SourcedValue | None) -> _ssl.SSLContext | bool | None:
    """Return the setting ``ssl``; raise ConfigurationError if it is nothing that is allowed."""
    if found is None:
        return None
    import ssl

    value: object = found.value
    if found.rank < Rank.VARIABLE and isinstance(value, ssl.SSLContext):
        return value
    try:
        return parse_boolean(value)
    except KeyError:
        pass
    raise ConfigurationError(
        f"ssl is {found.value!r} (from {found.source}); allowed: true, false, or, as an argument, an ssl.SSLContext"
    )
