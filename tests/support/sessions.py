"""A session of the RabbitMQ transport, without a client or a server around it."""

from __future__ import annotations

from rabibridge._connection.dialer import Dialer
from rabibridge._connection.session import Session
from rabibridge_core.settings import load_settings
from tests.support.waiting import soon


async def connected(url: str) -> Session:
    """Return a session with the broker at ``url``; who asks closes it."""
    settings = load_settings(url=url)
    return await soon(Session.connect(settings.endpoints[0], settings, "session", Dialer()))
