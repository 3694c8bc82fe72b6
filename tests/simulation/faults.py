"""Makes the faults of a plan."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rabibridge_core.errors import NoRouteError
from tests.simulation.members import WorkerMember

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.simulation.plan import Fault
    from tests.simulation.world import Member, World

__all__ = ["make_fault", "stop_faults"]


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
    transport = member.transport
    if kind == "lose":
        transport.abort()
    elif kind == "partition":
        transport.partitioned = True
        transport.abort(restore=False)
        _later(world, fault, lambda: _heal(member))
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


def _heal(member: Member) -> None:
    member.transport.partitioned = False
    if member.world.broker.accepting:
        member.transport.restore_soon()


def _of_broker(world: World, fault: Fault) -> None:
    broker, kind = world.broker, fault.kind
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
        made = _PASSAGES[kind](world, 1 + fault.target % 3)
        world.checker.faulty.add(kind)
        _later(world, fault, made.stop)


_PASSAGES: dict[str, Callable[[World, int], Any]] = {
    "duplicate_requests": lambda world, times: world.broker.duplicate(times=times),
    "duplicate_replies": lambda world, times: world.broker.duplicate(kind="reply", times=times),
    "drop_replies": lambda world, times: world.broker.drop_replies(times=times),
    "corrupt_replies": lambda world, times: world.broker.corrupt_replies(times=times),
    "delay_requests": lambda world, times: world.broker.delay(0.4, times=times),
    "delay_replies": lambda world, times: world.broker.delay(0.4, kind="reply", times=times),
    "refuse_full": lambda world, times: world.broker.refuse(times=times),
    "refuse_route": lambda world, times: world.broker.refuse(error=NoRouteError, times=times),
}


def _later(world: World, fault: Fault, act: Callable[[], object]) -> None:
    world.loop.call_later(fault.seconds, act)


def stop_faults(world: World) -> None:
    """Let all faults be over, and each worker be there."""
    world.broker.clear_faults()
    world.broker.unblock()
    for member in (*world.clients, *world.workers):
        member.node.thaw()
        if not member.over:
            _heal(member)
    world.broker.restore()
    for member in list(world.workers):
        if member.over or member.leaving:
            world.replace_worker(member)
