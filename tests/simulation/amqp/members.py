"""The clients and the workers of a simulation of bytes: with the real transport, and aiormq below it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rabibridge import RMQClient, RMQServer
from rabibridge.settings import RabbitMQSettings
from rabibridge_core.settings import Endpoint, Secret
from tests.simulation.members import SETTINGS, ClientMember, WorkerMember
from tests.simulation.services import SERVICES

if TYPE_CHECKING:
    from tests.simulation.amqp.network import Link
    from tests.simulation.members import AnyClient, Member
    from tests.simulation.wire import SimulatedBroker

__all__ = ["HEARTBEAT", "AmqpClient", "AmqpWorker", "links", "open_link"]

HEARTBEAT = 2.0
"""The heartbeat interval in seconds: whoever hears nothing for two of them gives the connection up."""
_ENDPOINT = Endpoint("127.0.0.1", 5672, "user", Secret("password"), "/", scheme="amqp")
_SETTINGS = replace(SETTINGS, endpoints=(_ENDPOINT,), transport=RabbitMQSettings(heartbeat=HEARTBEAT))
_DIRECT = replace(_SETTINGS, transport=RabbitMQSettings(heartbeat=HEARTBEAT, direct_reply=True))


def links(member: Member) -> list[Link]:
    """Return all connections that a member ever had."""
    return member.node.transports


def open_link(member: Member) -> Link | None:
    """Return the connection that a member has."""
    return next((link for link in links(member) if link.open), None)


class AmqpClient(ClientMember):
    """A client."""

    def _make(self, broker: SimulatedBroker) -> AnyClient:
        return self.node.context.run(self._make_client)

    def _make_client(self) -> RMQClient:
        direct = self.world.plan.direct and self.node.name == "client1"
        return RMQClient(settings=self.world.settings(_DIRECT if direct else _SETTINGS), name=self.node.name)


class AmqpWorker(WorkerMember):
    """A worker."""

    def _make(self) -> RMQServer:
        return self.node.context.run(self._make_server)

    def _make_server(self) -> RMQServer:
        server = RMQServer(settings=_SETTINGS, name=self.node.name)
        for service in self.world.services:
            function: Any = SERVICES[service].function
            server.add_service(function)
        return server
