"""Where a transport is connected to, for those who observe calls."""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

__all__ = ["BrokerAddress", "Located"]


class BrokerAddress(NamedTuple):
    """The broker that a transport is connected to.

    Attributes:
        host: its host as configured; for ``memory://`` the name of the broker in memory.
        port: its TCP port; 0: it has none.
        peer: the address at the other end of the socket, and its port; ``None``: it is not known.
    """

    host: str
    port: int
    peer: tuple[str, int] | None = None


@runtime_checkable
class Located(Protocol):
    """A transport that says which of several brokers it is connected to. Optional."""

    @property
    def broker_address(self) -> BrokerAddress | None:
        """The broker of the present connection, or of the last one; ``None``: there was none yet."""
        ...
