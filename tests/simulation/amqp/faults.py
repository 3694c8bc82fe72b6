"""Makes the faults of a plan: of connections, of channels and of the broker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.simulation.amqp.members import open_link
from tests.simulation.faults import make_fault as make_member_fault
from tests.simulation.members import ClientMember
from tests.simulation.plan import WORKERS

if TYPE_CHECKING:
    from tests.simulation.amqp.network import Link
    from tests.simulation.amqp.world import AmqpWorld
    from tests.simulation.members import Member
    from tests.simulation.nodes import Node
    from tests.simulation.plan import Fault

__all__ = ["make_amqp_fault", "stop_amqp_faults"]

_OF_MEMBERS = {"kill_worker", "stop_worker", "close_client"}
_CHANNEL_ERROR, _CONNECTION_FORCED = 541, 320


def make_amqp_fault(world: AmqpWorld, fault: Fault) -> None:
    """Let a fault occur, and end by itself after its time."""
    if fault.kind in _OF_MEMBERS:
        make_member_fault(world, fault)
        return
    kind, _, who = fault.kind.rpartition("_")
    if who in ("client", "worker"):
        members: list[Any] = list(world.clients if who == "client" else world.workers)
        member = members[fault.target % len(members)]
        link = open_link(member)
        if link is not None and not member.over:
            world.fired(fault.kind)
            _of_link(world, fault, kind, member, link)
    else:
        world.fired(fault.kind)
        _of_broker(world, fault)


def _of_link(world: AmqpWorld, fault: Fault, kind: str, member: Member, link: Link) -> None:
    number = fault.target // 16
    if kind == "freeze":
        member.node.freeze()
        world.loop.call_later(fault.seconds, member.node.thaw)
    elif kind == "cut":
        link.cut_after(number * number // 64, inbound=fault.target % 4 < 2)
        if fault.seconds > 1.0:
            world.amqp.unreachable.append(member.node)
            world.loop.call_later(fault.seconds, _reach, world, member.node)
    elif kind in ("deafen", "mute", "sever"):
        link.hold(inbound=kind != "mute", outbound=kind != "deafen")
        world.loop.call_later(fault.seconds, link.hear_again)
    elif kind == "close_connection":
        link.server.close(_CONNECTION_FORCED, "CONNECTION_FORCED - Closed via management plugin")
    elif kind == "close_channel":
        numbers = sorted(number for number, channel in link.server.channels.items() if not channel.closing)
        if numbers:
            link.channel_closed()
            chosen = numbers[number % len(numbers)]
            link.server.channels[chosen].close(_CHANNEL_ERROR, "INTERNAL_ERROR")
    else:
        own = sorted(name for name, queue in world.amqp.model.queues.items() if queue.owner is link.server)
        if own:
            link.channel_closed()
            world.amqp.model.delete_queue(world.amqp.model.queues[own[number % len(own)]])
            world.checker.dropped_queues += 1
            if isinstance(member, ClientMember):
                world.checker.faulty.add("drop_replies")


def _of_broker(world: AmqpWorld, fault: Fault) -> None:
    broker = world.amqp
    model = broker.model
    if fault.kind == "cut_all":
        for connection in list(model.connections):
            connection.reset()
    elif fault.kind == "refuse_connections":
        broker.accepting = False
        world.loop.call_later(fault.seconds, _accept, world)
    elif fault.kind == "restart":
        world.checker.restarted()
        broker.restart()
        broker.accepting = not fault.seconds
        world.loop.call_later(fault.seconds, _accept, world)
    elif fault.kind == "block":
        model.set_alarm("low on memory")
        world.loop.call_later(fault.seconds, model.set_alarm, "")
    elif fault.kind == "nack":
        world.checker.faulty.add("refuse_full")
        model.nacks += 1 + fault.target % 3
    else:
        # Not one that a worker has declared and does not consume yet: its broker then refuses that, as an error.
        names = sorted(
            name for name, queue in model.queues.items() if queue.owner is None and len(queue.consumers) >= WORKERS
        )
        if names:
            model.delete_queue(model.queues[names[fault.target % len(names)]])


def _reach(world: AmqpWorld, node: Node) -> None:
    if node in world.amqp.unreachable:
        world.amqp.unreachable.remove(node)


def _accept(world: AmqpWorld) -> None:
    world.amqp.accepting = True


def stop_amqp_faults(world: AmqpWorld) -> None:
    """Let all faults be over, and each worker be there."""
    broker = world.amqp
    broker.accepting, broker.model.nacks = True, 0
    broker.model.set_alarm("")
    broker.unreachable.clear()
    for member in world.members:  # also those that others have replaced
        member.node.thaw()
        for link in member.node.transports:
            link.calm()
    for worker in list(world.workers):
        if worker.over or worker.leaving:
            world.replace_worker(worker)
