"""Puts the options that stand before a command into effect, for the command and for the processes that it starts.

They become variables of the environment, because that also reaches the clients and servers that a program of the user
makes by itself.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["use_options"]

_PREFIX = "RABIBRIDGE_"
_IN_URL = {
    "TLS_CA_FILE": "cacertfile",
    "TLS_CERT_FILE": "certfile",
    "TLS_KEY_FILE": "keyfile",
    "TLS_SERVER_NAME": "server_name_indication",
    "AUTH_MECHANISM": "auth_mechanism",
}
_PASSWORD_FILE = "TLS_KEY_PASSWORD_FILE"  # noqa: S105 - the name of a variable
_URLS = ("RABIBRIDGE_URL", "CLOUDAMQP_URL")


def use_options(given: Mapping[str, str | Path | None]) -> None:
    """Set the variable of each option that was given, in place of others of the same meaning.

    Args:
        given: the values by the names of the variables, without their prefix; ``None``: not given.

    Raises:
        BadParameter: an option is empty, or a URL of the environment, which takes precedence over variables, says
            something else.
    """
    for name, value in given.items():
        if value is None:
            continue
        option = f"--{name.lower().replace('_', '-')}"
        if not str(value).strip():
            raise typer.BadParameter("is empty: leave it out, or give a value", param_hint=option)
        for url in _URLS:
            if name in _IN_URL and re.search(rf"[?&]{_IN_URL[name]}=", os.environ.get(url, "")):
                raise typer.BadParameter(
                    f"the URL in {url} has the parameter {_IN_URL[name]}: leave one of them out", param_hint=option
                )
        if name == _PASSWORD_FILE:
            os.environ.pop(_PREFIX + name.removesuffix("_FILE"), None)
        os.environ[_PREFIX + name] = str(value.absolute()) if isinstance(value, Path) else value
