"""Chains of calls: which calls wait for a call that a function makes, as its header tells them.

Each worker adds a link to what its own request has told it. The links are made up of what a caller can read anyway, and
of numbers that mean something to the worker alone that has given them: nothing is decided by a link that no worker
confirms.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from rabibridge_core._protocol.headers import CHAIN

if TYPE_CHECKING:
    from rabibridge_core.transport import Headers

__all__ = ["LINKS_MAX", "SIZE_MAX", "Link", "chain_in", "is_place", "joined", "links_of"]

LINKS_MAX: Final = 64
"""How many links a chain has at most: the oldest ones are left out."""
SIZE_MAX: Final = 4096
"""The size of a chain at most, in bytes."""

_PLACE = r"[A-Za-z0-9_-]{1,32}\.[0-9]{1,16}"
_LINK = rf"[A-Za-z0-9_.-]{{1,200}}:[1-9][0-9]{{0,4}}:{_PLACE}"
_is_chain = re.compile(rf"{_LINK}(?: {_LINK})*", re.ASCII).fullmatch
_is_place = re.compile(_PLACE, re.ASCII).fullmatch


class Link(NamedTuple):
    """One call of a chain, which holds a place of its service until what it waits for has ended.

    Attributes:
        service: the name of the service.
        places: how many calls of it that worker runs at a time.
        worker: tells that worker and service apart from all others.
        place: tells the call apart from all others, of whatever worker.
    """

    service: str
    places: int
    worker: str
    place: str


def chain_in(headers: Headers) -> str:
    """Return the chain in the headers of a request; empty: there is none, or it has another form."""
    chain = headers.get(CHAIN)
    if not isinstance(chain, str) or len(chain) > SIZE_MAX or _is_chain(chain) is None:
        return ""
    return chain


def joined(chain: str, service: str, places: int, place: str) -> str:
    """Return a chain with one more link at its end, without the oldest ones if it would be too long."""
    link = f"{service}:{places}:{place}"
    if not chain:
        return link
    chain = f"{chain} {link}"
    while len(chain) > SIZE_MAX or chain.count(" ") >= LINKS_MAX:
        chain = chain.partition(" ")[2]
    return chain


def links_of(chain: str) -> list[Link]:
    """Return the links of a chain of the right form, the oldest first."""
    links = []
    for link in chain.split(" ") if chain else ():
        service, places, place = link.split(":")
        links.append(Link(service, int(places), place.partition(".")[0], place))
    return links


def is_place(value: object) -> bool:
    """Tell whether a value has the form of the place of a link."""
    return isinstance(value, str) and _is_place(value) is not None
