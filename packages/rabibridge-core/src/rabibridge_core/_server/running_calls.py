"""What a worker runs now: every active call with its age, its caller and its stacks."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from rabibridge_core._clock import monotonic
from rabibridge_core._observability.stacks import StackReader
from rabibridge_core._reporting.error_text import printable
from rabibridge_core.introspection.running import CALLS_MAX, CallStack, RunningCall

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from rabibridge_core._protocol.remote_errors import RemoteTraceback
    from rabibridge_core._server.active_request import ActiveRequest, StackSource
    from rabibridge_core._server.service import ServiceRunner

__all__ = ["RunningCalls", "call_id", "caller_of", "calls_text", "stacks_text"]

_ATTEMPTS: Final = 20
_CHILDREN_MAX: Final = 20
"""How many child processes are asked where they are; each may take a second if it is stuck."""

_SILENT: Final[tuple[RemoteTraceback, ...]] = ("message", "none")
_WITHHELD: Final = CallStack("task", note="the service shows no stacks: its remote_traceback is neither full nor user")


def call_id(active: ActiveRequest) -> str:
    """Return the id of a call as logs show it."""
    return printable(active.request.correlation_id.decode("utf-8", "backslashreplace"))[:100]


def caller_of(active: ActiveRequest) -> str:
    """Return what tells callers apart: the user, if it is known, and a digest of the address.

    Whoever knows the address itself and the id of a call could forge its reply.
    """
    digest = hashlib.blake2b(active.request.caller, digest_size=6).hexdigest() if active.request.caller else "unknown"
    return f"{printable(active.user)[:100]} {digest}" if active.user else digest


def stacks_text(stacks: Iterable[CallStack]) -> str:
    """Return stacks as a block of lines."""
    return "\n".join(map(str, stacks)) or "it waits for its turn"


class RunningCalls:
    """The calls that a worker has at one moment.

    What other processes have to be asked for is not known yet: :meth:`complete` asks them.

    Attributes:
        count: how many there are.
    """

    def __init__(
        self, runners: Iterable[ServiceRunner], running_in: int | None = None, hidden: frozenset[str] | None = None
    ) -> None:
        """Look at the calls; called on the event loop, or in another thread while that is blocked.

        Args:
            runners: what runs the services.
            running_in: the thread of the event loop, if that is blocked and this is called from another one.
            hidden: services that are left out, for a client that asks, which is told of stacks what the services tell
                of exceptions; ``None``: it is for the log of this worker, which shows everything.

        Raises:
            RuntimeError: they changed meanwhile, in the thread of the event loop.
        """
        shown = [runner for runner in runners if hidden is None or runner.schema.name not in hidden]
        found: list[tuple[ActiveRequest, RemoteTraceback]] = [
            (active, _told(runner, for_log=hidden is None)) for runner in shown for active in runner.all_active()
        ]
        found.sort(key=lambda one: one[0].received_at)
        self.count = len(found)
        reader, now = StackReader(running_in), monotonic()
        self._calls = [_described(active, now, told, reader) for active, told in found[:CALLS_MAX]]
        self._children: dict[int, tuple[StackSource, bytes, RemoteTraceback]] = {}
        for place, (active, told) in enumerate(found[:CALLS_MAX]):
            if told not in _SILENT and (child := getattr(active, "child", None)) is not None:
                self._children[place] = child, active.request.correlation_id, told

    @classmethod
    def beside_loop(cls, runners: Callable[[], Iterable[ServiceRunner]], running_in: int) -> RunningCalls | None:
        """Look at them beside the thread of the event loop, ``running_in``; ``None``: they change too fast."""
        for _ in range(_ATTEMPTS):
            try:
                return cls(runners(), running_in)
            except RuntimeError:
                continue
        return None

    @property
    def complete_already(self) -> bool:
        """Whether no other process has to be asked."""
        return not self._children

    def complete(self) -> tuple[RunningCall, ...]:
        """Return the oldest 100 calls, the oldest first; it may block, so it is called in a thread if it has to ask."""
        for asked, (place, (child, correlation_id, told)) in enumerate(self._children.items()):
            if asked < _CHILDREN_MAX:
                call = self._calls[place]
                found = child.stacks(correlation_id)
                if told == "user":
                    found = tuple(_of_user(stack) for stack in found)
                own = tuple(stack for stack in call.stacks if stack.places or not found)
                self._calls[place] = replace(call, stacks=(*own, *found))
        self._children.clear()
        return tuple(self._calls)


def _told(runner: ServiceRunner, *, for_log: bool) -> RemoteTraceback:
    return "full" if for_log else runner.schema.remote_traceback or "full"


def _described(active: ActiveRequest, now: float, told: RemoteTraceback, reader: StackReader) -> RunningCall:
    stacks: tuple[CallStack, ...] = ()
    if active.task is not None:
        stacks = (_WITHHELD,) if told in _SILENT else reader.stacks_of(active, active.task)
    if told == "user":
        stacks = tuple(_of_user(stack) for stack in stacks)
    return RunningCall(
        service=printable(active.service),
        call_id=call_id(active),
        age=now - active.received_at,
        time_left=None if active.ends_at is None else active.ends_at - now,
        attempt=active.attempt,
        caller=caller_of(active),
        running=active.task is not None,
        stacks=stacks,
    )


def _of_user(stack: CallStack) -> CallStack:
    return replace(stack, places=tuple(place for place in stack.places if place.user))


def calls_text(calls: Iterable[RunningCall], count: int) -> str:
    """Return calls as a block of lines; ``count``: how many there are in all."""
    blocks = []
    for call in calls:
        left = "no deadline" if call.time_left is None else f"{call.time_left:.1f} s left"
        head = (
            f"{call.service} {call.call_id}: for {call.age:.1f} s, {left}, attempt {call.attempt}, caller {call.caller}"
        )
        blocks.append("\n".join([head, *(f"  {line}" for line in stacks_text(call.stacks).split("\n"))]))
    if count > len(blocks):
        blocks.append(f"and {count - len(blocks)} more")
    return "\n".join(blocks)
