"""Makes the faults of a plan."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rabibridge_core.errors import NoRouteError
from tests.simulation.members import WorkerMember

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.simulation.plan import Fault
    from tests.simulation.wire import SimulatedBroker, SimulatedTransport
    from tests.simulation.world import Member, World

__all__ = ["make_fault", "stop_faults"]


_HEARTBEATS = 1.0
"""For how long a side hears nothing until it gives the connection up, in seconds."""


def make_fault(world: World, fault: Fault) -> None:
    """Let a fault occur, and end by itself after its time."""
    kind, _, who = fault.kind.rpartition("_")
    if who in ("client", "worker"):
        members = world.clients if who == "client" else world.workers
        _of_members(world, fault, kind, members[fault.target % len(members)])
    elif fault.kind == "stop_worker_twice":
        _of_members(world, fault, fault.kind, world.workers[fault.target % len(world.workers)])
    else:
        _of_broker(world, fault)


def _of_members(world: World, fault: Fault, kind: str, member: Member) -> None:
    if member.over:
        return
    world.fired(fault.kind)
    transport: Any = member.connection(fault.target) if member.node.transports else None
    if kind == "lose":
        transport.abort()
    elif kind == "partition":
        transport.partitioned = True
        transport.abort(restore=False)
        _later(world, fault, lambda: _heal(transport))
    elif kind in ("deafen", "mute", "sever"):
        _silence(world, fault, transport, kind)
    elif kind == "freeze":
        member.node.freeze()
        if fault.target % 3 == 0:
            transport.abort()  # it has sent no heartbeats
        _later(world, fault, member.node.thaw)
    elif kind == "kill":
        member.kill()
        _later(world, fault, lambda: world.replace_worker(member))
    else:
        member.leaving = True
        member.left_at.append(world.loop.time())
        member.node.spawn(_leave(member, kind))
        if kind != "close" or member in world.workers:
            _later(world, fault, lambda: world.replace_worker(member))


async def _leave(member: Member, kind: str) -> None:
    if kind == "close":
        await member.close()
    else:
        assert isinstance(member, WorkerMember)
        member.server.stop()
        if kind == "stop_worker_twice":
            member.server.stop()


def _silence(world: World, fault: Fault, transport: SimulatedTransport, kind: str) -> None:
    """Let nothing arrive in one direction, or in both: who hears nothing notices by the missing heartbeats."""
    silence = transport.fall_silent(inbound=kind != "mute", outbound=kind != "deafen")
    if fault.seconds < _HEARTBEATS or silence is None:
        _later(world, fault, lambda: transport.hear_again(silence))
        return
    sooner = fault.target // 4 % 3 * 0.4
    if kind != "deafen":
        world.loop.call_later(_HEARTBEATS + sooner, transport.give_up, silence)
    own = 0.8 - sooner if kind == "sever" else fault.target % 3 * 0.3 + sooner if kind == "mute" else 0.0
    world.loop.call_later(_HEARTBEATS + own, transport.notice, silence)
    world.loop.call_later(max(fault.seconds, _HEARTBEATS + 1.7), _heal, transport)


def _heal(transport: SimulatedTransport) -> None:
    transport.partitioned = False
    if transport.broker.accepting:
        transport.restore_soon()


def _of_broker(world: World, fault: Fault) -> None:
    broker, kind = world.brokers[fault.target % len(world.brokers)], fault.kind
    world.fired(kind)
    if kind == "lose_all":
        broker.lose_connection(restore=not fault.seconds)
        _later(world, fault, broker.restore)
    elif kind == "refuse_connections":
        broker.refuse_connections()
        _later(world, fault, broker.restore)
    elif kind == "restart":
        world.checker.restarted()
        broker.restart(restore=not fault.seconds)
        _later(world, fault, broker.restore)
    elif kind == "alarm":
        broker.block()
        _later(world, fault, broker.unblock)
    elif kind == "delete_queue":
        names = sorted(broker.queues)
        if names:
            broker.delete_queue(names[fault.target % len(names)])
    elif kind == "wall_clock":
        world.loop.set_wall((-3600.0, -1.0, 1.0, 3600.0)[fault.target % 4])
    else:
        made = _PASSAGES[kind](broker, 1 + fault.target % 3)
        world.checker.faulty.add(kind)
        _later(world, fault, made.stop)


_PASSAGES: dict[str, Callable[[SimulatedBroker, int], Any]] = {
    "duplicate_requests": lambda broker, times: broker.duplicate(times=times),
    "duplicate_replies": lambda broker, times: broker.duplicate(kind="reply", times=times),
    "drop_replies": lambda broker, times: broker.drop_replies(times=times),
    "corrupt_replies": lambda broker, times: broker.corrupt_replies(times=times),
    "delay_requests": lambda broker, times: broker.delay(0.4, times=times),
    "delay_replies": lambda broker, times: broker.delay(0.4, kind="reply", times=times),
    "refuse_full": lambda broker, times: broker.refuse(times=times),
    "refuse_route": lambda broker, times: broker.refuse(error=NoRouteError, times=times),
}


def _later(world: World, fault: Fault, act: Callable[[], object]) -> None:
    world.loop.call_later(fault.seconds, act)


def stop_faults(world: World) -> None:
    """Let all faults be over, and each worker be there."""
    for broker in world.brokers:
        broker.clear_faults()
        broker.unblock()
    for member in (*world.clients, *world.workers):
        member.node.thaw()
        if not member.over:
            for transport in member.node.transports:
                transport.end_silence()
                _heal(transport)
    for broker in world.brokers:
        broker.restore()
    for member in list(world.workers):
        if member.over or member.leaving:
            world.replace_worker(member)
