"""Gives users of a broker the permissions that ``rabibridge permissions`` prints, by its own commands."""

from __future__ import annotations

import asyncio
import secrets
import shlex
from typing import TYPE_CHECKING, Any

from yarl import URL

from rabibridge._operations.permission_sets import PermissionSet, names_in, permission_set
from tests.rabbitmq.support import ctl, vhost_of

if TYPE_CHECKING:
    from pathlib import Path

    from rabibridge._operations.permission_sets import PermissionRole
    from tests.rabbitmq.users import Users
    from tools.broker import Broker


class Grants:
    """Gives new users what is printed for them."""

    def __init__(self, broker: Broker, users: Users, url: str, namespace: str, folder: Path) -> None:
        self._broker = broker
        self._users = users
        self._folder = folder
        self.vhost = vhost_of(url)
        self.names = names_in(namespace)

    async def user(self, role: PermissionRole, services: Any = (), **options: Any) -> str:
        """Return the URL of a new user with the permissions of a role."""
        url = await self._users.add("^$", "^$", "^$")
        if role == "caller" and await self._guards_queue_states():
            options["queue_states"] = True
        await self.give(url, permission_set(role, self.names, services, vhost=self.vhost, **options))
        return url

    async def _guards_queue_states(self) -> bool:
        """Tell whether this RabbitMQ shows the state of a queue only to those who have a permission of it."""
        version = await asyncio.to_thread(self._broker.ctl, "eval", "rabbit_misc:version().")
        return tuple(map(int, version.strip('"\n').split(".")[:2])) >= (4, 3)

    async def give(self, url: str, permissions: PermissionSet) -> None:
        """Carry out the commands."""
        user = URL(url).user
        assert user is not None
        for line in permissions.commands(user, self.vhost):
            command = shlex.split(line)
            if command[0] == "echo":
                definitions = self._folder / f"{secrets.token_hex(4)}.json"
                definitions.write_text(command[1])
                command = [*command[3:], str(definitions)]
            assert command[0] == "rabbitmqctl"
            await ctl(self._broker, *command[1:])
