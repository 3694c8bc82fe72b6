"""Bundles of replies, as a caller asks for them and reads them; ``outgoing_bundles`` has what a worker does.

A caller announces in the header of a request that the reply may come in a bundle, and a worker bundles only the replies
to such requests: workers and callers that know nothing of bundles, of this library or another, never meet one. It
announces nothing while it has few calls in flight. Few replies come at once then, so that there is nothing to gain, and
requests are the same as without bundles, byte for byte.

Signed requests announce nothing: a worker that does not know the header would take it for a part of what is signed, and
refuse the request. Nor do callers whose ``max_body`` is smaller than a bundle.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from rabibridge._amqp.bundles import BUNDLE_BYTES, BundleError, parse_bundle
from rabibridge._amqp.properties import Properties
from rabibridge_core._reporting.limited_log import LimitedLog
from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger
from rabibridge_core._security.signature import SIGNATURE
from rabibridge_core.transport import PendingCalls

if TYPE_CHECKING:
    from collections.abc import Sequence, Sized

    from rabibridge_core.settings import Endpoint
    from rabibridge_core.transport import CallerEvents, Headers

__all__ = ["BUNDLES_FROM", "bundled_calls", "may_announce", "split"]

_log = get_logger(__name__)
_limited = LimitedLog(_log)
BUNDLES_FROM = 32
"""How many calls must be in flight for a request to announce that its caller reads bundles."""


def bundled_calls(events: CallerEvents, max_body: int) -> Sized:
    """Return the calls in flight of a caller that reads bundles; nothing if it does not, or does not count them."""
    return events.pending if isinstance(events, PendingCalls) and max_body >= BUNDLE_BYTES else ()


def may_announce(headers: Headers | None) -> bool:
    """Tell whether a request with these headers may announce that its caller reads bundles."""
    return not headers or SIGNATURE not in headers


def split(content: bytes, peer: Endpoint) -> Sequence[tuple[Properties, bytes]]:
    """Return properties and body of each reply in a bundle.

    A malformed one is logged, and returned as one reply that is for no call.

    Args:
        content: the body of the message.
        peer: the broker that it came from.
    """
    try:
        return parse_bundle(content)
    except BundleError as error:
        _limited.log(
            "malformed bundle", logging.WARNING,
            "a malformed bundle of replies from %s is dropped, with all that it may hold: %s", peer, error,
            extra=log_fields("reply.malformed_bundle", peer=peer, error=error),
        )  # fmt: skip
        return ((Properties(), content),)
