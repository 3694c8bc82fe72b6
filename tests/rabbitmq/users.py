"""Users that lack a permission."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from yarl import URL

from tests.rabbitmq.support import ctl, vhost_of

if TYPE_CHECKING:
    from tools.broker import Broker


class Users:
    """The users of one test, on its virtual host."""

    def __init__(self, broker: Broker, url: str) -> None:
        self._broker = broker
        self._url = url
        self._names: list[str] = []

    async def add(self, configure: str, write: str, read: str) -> str:
        """Return the URL of a new user with these permissions."""
        name = f"user_{secrets.token_hex(4)}"
        await ctl(self._broker, "add_user", name, "secret")
        self._names.append(name)
        url = str(URL(self._url).with_user(name).with_password("secret"))
        await self.allow(url, configure, write, read)
        return url

    async def allow(self, url: str, configure: str, write: str, read: str) -> None:
        """Change the permissions of a user."""
        name = URL(url).user
        assert name is not None
        await ctl(self._broker, "set_permissions", "-p", vhost_of(self._url), name, configure, write, read)

    async def close(self) -> None:
        """Delete them."""
        for name in self._names:
            await ctl(self._broker, "delete_user", name)
