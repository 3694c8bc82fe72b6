"""What a worker runs now: each call with its age, its caller and its stacks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from rabibridge_core.introspection.reading import listed, number, optional_number, text, whole

__all__ = ["CALLS_MAX", "CallStack", "Place", "RunningCall", "WorkerCalls"]

CALLS_MAX = 100
"""How many calls of a worker are told, the oldest first."""
_STACKS_MAX = 64
_PLACES_MAX = 256
_NAME_MAX = 200
_TEXT_MAX = 1000


@dataclass(frozen=True, slots=True)
class Place:
    """One frame of a stack.

    Attributes:
        file: the file.
        line: the line in it.
        function: the function, with its class.
        user: whether it is code of the program, not of a library.
    """

    file: str
    line: int
    function: str
    user: bool = True

    def __str__(self) -> str:
        """Show it in one line."""
        return f"{self.file}:{self.line} in {self.function}"

    @classmethod
    def from_json(cls, value: object) -> Place | None:
        """Make it again from JSON; ``None``: it cannot be read."""
        if not isinstance(value, Mapping):
            return None
        file, function = text(value.get("file"), _TEXT_MAX), text(value.get("function"), _TEXT_MAX)
        return cls(file, whole(value.get("line")), function, value.get("user") is not False)


@dataclass(frozen=True, slots=True)
class CallStack:
    """One stack of a call.

    Attributes:
        where: what it is the stack of: ``"task"``, ``"task NAME"``, ``"thread NAME"`` or ``"child process PID"``.
        places: the frames: those of the program first, the innermost one at the top; then those of libraries below.
        note: why there are none, or what is known beside them.
    """

    where: str
    places: tuple[Place, ...] = ()
    note: str = ""

    def lines(self) -> list[str]:
        """Return it as lines."""
        note = self.note or ("" if self.places else "it has not begun, or is at its end")
        lines = [f"{self.where}: {note}" if note else f"{self.where}:"]
        lines += [f"  {place}" if place.user else f"  (in {place})" for place in self.places]
        return lines

    def __str__(self) -> str:
        """Show it as a block of lines."""
        return "\n".join(self.lines())

    @classmethod
    def from_json(cls, value: object) -> CallStack | None:
        """Make it again from JSON; ``None``: it cannot be read."""
        if not isinstance(value, Mapping) or not (where := text(value.get("where"), _TEXT_MAX)):
            return None
        places = listed(value.get("places"), Place.from_json, _PLACES_MAX)
        return cls(where, places, text(value.get("note"), _TEXT_MAX))


@dataclass(frozen=True, slots=True)
class RunningCall:
    """One call that a worker has received and not answered.

    Attributes:
        service: the name of its service.
        call_id: its id, which its caller finds in errors and logs.
        age: for how long the worker has had it, in seconds.
        time_left: how long its caller still waits, in seconds, negative if that is over; ``None``: without a limit.
        attempt: 1, or more if it was delivered before.
        caller: tells callers apart: the user, if the broker vouches for it, and a digest of the reply address.
        running: whether its function was started; else it waits for its turn.
        stacks: where it is; empty if it waits.
    """

    service: str
    call_id: str
    age: float
    time_left: float | None = None
    attempt: int = 1
    caller: str = ""
    running: bool = True
    stacks: tuple[CallStack, ...] = ()

    @classmethod
    def from_json(cls, value: object) -> RunningCall | None:
        """Make it again from JSON; ``None``: it cannot be read."""
        if not isinstance(value, Mapping) or not (service := text(value.get("service"), _NAME_MAX)):
            return None
        return cls(
            service=service,
            call_id=text(value.get("call_id"), _NAME_MAX),
            age=number(value.get("age")),
            time_left=optional_number(value.get("time_left")),
            attempt=whole(value.get("attempt")),
            caller=text(value.get("caller"), _TEXT_MAX),
            running=value.get("running") is True,
            stacks=listed(value.get("stacks"), CallStack.from_json, _STACKS_MAX),
        )


@dataclass(frozen=True, slots=True)
class WorkerCalls:
    """What one worker runs, at the moment of its answer: what ``client.running_calls()`` returns of each.

    Attributes:
        worker: the name of the server, such as ``RMQServer@host:4711``.
        id: tells it apart from all others, also from one of the same name and from itself before a restart.
        host: the name of its machine.
        pid: the number of its process there.
        count: how many calls it has received and not answered.
        calls: the oldest of them, at most 100, the oldest first.
        refused: why it does not tell; empty: it does. A worker of an older version does not know the question.
    """

    worker: str
    id: str
    host: str = ""
    pid: int = 0
    count: int = 0
    calls: tuple[RunningCall, ...] = ()
    refused: str = ""

    def to_json(self) -> dict[str, object]:
        """Return it as JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, object], worker: str, worker_id: str, refused: str = "") -> WorkerCalls:
        """Make it again from JSON; what cannot be read is left out."""
        calls = listed(value.get("calls"), RunningCall.from_json, CALLS_MAX)
        return cls(
            worker, worker_id,
            host=text(value.get("host"), _NAME_MAX), pid=whole(value.get("pid")),
            count=max(whole(value.get("count")), len(calls)), calls=calls, refused=refused,
        )  # fmt: skip
