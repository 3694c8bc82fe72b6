"""The address of one broker and the login for it, with a password that is never printed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import quote

if TYPE_CHECKING:
    import ssl as _ssl

__all__ = ["Endpoint", "Secret"]


class Secret:
    """A text that is printed, formatted and logged as asterisks; ``reveal()`` returns it.

    It cannot be pickled, so that it does not leave the process inside a message by accident.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        """Wrap ``text``."""
        self._text = text

    def reveal(self) -> str:
        """Return the text itself, for the code that logs in or signs with it."""
        return self._text

    def __repr__(self) -> str:
        return "Secret('**********')"

    def __str__(self) -> str:
        return "**********"

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        return self._text == other._text if isinstance(other, Secret) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._text)

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: object) -> Secret:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not pickled; let the other process read the setting itself")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One broker to connect to. ``str()`` of it is a URL without the password.

    Attributes:
        host: host name or address; an IPv6 address without brackets. For ``memory`` the name of the broker in memory.
        port: TCP port; 0 if the scheme has none.
        username: user name, percent-decoded; empty if none was given.
        password: the password; ``password.reveal()`` returns its text.
        virtualhost: virtual host, or whatever else the transport reads from the path of a URL; percent-decoded.
        scheme: URL scheme, in lower case. It says which transport connects.
        ssl: ``True`` for TLS with the default client context, or the context to use; ``None`` for no TLS.
    """

    host: str
    port: int = 0
    username: str = ""
    password: Secret = field(default=Secret(""), repr=False)
    virtualhost: str = "/"
    scheme: str = field(kw_only=True)
    ssl: _ssl.SSLContext | bool | None = None

    def __str__(self) -> str:
        """Return ``scheme://user@host:port/virtualhost``, fit for logs."""
        user = f"{quote(self.username, safe='')}@" if self.username else ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = f":{self.port}" if self.port else ""
        path = "/" if self.virtualhost == "/" else "/" + quote(self.virtualhost, safe="")
        return f"{self.scheme}://{user}{host}{port}{path}"
