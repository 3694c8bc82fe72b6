"""What must not be left once everything is closed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.simulation.members import ClientMember, WorkerMember
from tests.simulation.nodes import NODE

if TYPE_CHECKING:
    from rabibridge_core.rpc import RpcClient
    from tests.simulation.world import World

__all__ = ["find_leaks"]

_SOON = 0.2
"""Timers that are due within so many seconds may be left: they end what has ended already, and do nothing."""


def find_leaks(world: World) -> None:
    """Tell the checker what is left of processes that have closed."""
    loop, checker = world.loop, world.checker
    for task in loop.tasks:
        if not task.done() and task.node is not None and not task.node.dead:
            checker.violated("leak", f"a task of {task.node.name} is left: {task.get_name()} {task.get_coro()!r}")
    timers: list[Any] = list(loop._scheduled)
    for timer in timers:
        owner = timer._context.get(NODE)
        if not timer._cancelled and owner is not None and not owner.dead and timer._when > loop.time() + _SOON:
            checker.violated("leak", f"a timer of {owner.name} is left: {timer!r}")
    for member in world.members:
        if not member.node.dead:
            assert isinstance(member, ClientMember | WorkerMember)
            counts = map(_of_client, member.clients) if isinstance(member, ClientMember) else [_of_worker(member)]
            for counted in counts:
                for what, count in counted.items():
                    if count:
                        checker.violated("leak", f"{what} of {member.node.name}: {count}")
    for broker in world.brokers:
        for left in broker.leaks():
            checker.violated("leak", left)


def _of_client(client: RpcClient) -> dict[str, int]:
    calls = client._client.calls
    return {
        "pending calls": len(calls.pending),
        "broadcasts": len(calls.broadcasts),
        "waiting calls": len(calls.admission.waiting),
        "admitted calls": calls.admission._entered,
        "deadlines": len(calls.deadlines) if hasattr(calls, "deadlines") else 0,
        "looks": len(calls.silent.tasks),
    }


def _of_worker(member: WorkerMember) -> dict[str, int]:
    found = {"runners": len(member.server._server.services.runners)}
    for name, runner in member.server._server.services.runners.items():
        found[f"requests of {name}"] = runner.active_requests
        found[f"keys of {name}"] = len(runner._deduplication._running)
        found[f"deadlines of {name}"] = len(runner.processor._deadlines)
    return found
