"""Where a call is now: the stacks of its coroutine, of the tasks that it has started and of the threads it waits for.

Nothing is recorded while calls run: everything is read from what Python has anyway when somebody asks. Stacks hold
places in the source and nothing else, no values of variables. A part that cannot be read is left out.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
from concurrent.futures import Future as ThreadFuture
from types import AsyncGeneratorType, CoroutineType, FrameType, GeneratorType
from typing import TYPE_CHECKING, Any, Final

from rabibridge_core._observability.call_context import current_call_var
from rabibridge_core._protocol.remote_errors import is_engine_code
from rabibridge_core._reporting.error_text import printable
from rabibridge_core._reporting.user_frames import is_file_of_user
from rabibridge_core.introspection.running import CallStack, Place

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rabibridge_core._observability.call_context import CurrentCall

__all__ = ["StackReader"]

_FRAMES_MAX: Final = 40
_CHAIN_MAX: Final = 200
_STACKS_MAX: Final = 12
_TEXT_MAX: Final = 300


class StackReader:
    """Reads the stacks of calls, as they are when it is made: what all of them need is looked up once."""

    def __init__(self, running_in: int | None = None) -> None:
        """Look at threads now.

        Args:
            running_in: the thread of the event loop, if this is not made by a callback of it: because the loop is
                blocked and another thread asks, or because a signal has interrupted it.
        """
        self._running_in = running_in
        self._threads = sys._current_frames()
        self._names = {thread.ident: thread.name for thread in threading.enumerate()}
        self._tasks: dict[asyncio.AbstractEventLoop, dict[int, list[asyncio.Task[Any]]]] = {}

    def stacks_of(self, call: CurrentCall, task: asyncio.Task[Any] | None) -> tuple[CallStack, ...]:
        """Return the stacks of a call: that of its own task first.

        Args:
            call: the call.
            task: the task that processes it; ``None``: it has none yet.
        """
        if task is None:
            return ()
        found: list[CallStack] = []
        awaited = set[int]()
        for one, name in ((task, "task"), *self._further_tasks(call, task)):
            if len(found) >= _STACKS_MAX:
                break
            frames, futures = _of_task(one, self._threads, self._running_in)
            found.append(CallStack(name, _places(frames)))
            awaited |= futures
        for ident, frame in self._threads.items():
            if (
                len(found) < _STACKS_MAX
                and ident != self._running_in
                and ident != threading.get_ident()
                and _works_for(frame, call, awaited)
            ):
                where = f"thread {printable(self._names.get(ident, str(ident)))[:_TEXT_MAX]}"
                found.append(CallStack(where, _places(_with_generators(_outer(frame)))))
        return tuple(one for one in found if one.places) or tuple(found)

    def _further_tasks(self, call: CurrentCall, own: asyncio.Task[Any]) -> list[tuple[asyncio.Task[Any], str]]:
        """Return the other tasks of a call, such as those of a TaskGroup, which inherit its context variables."""
        loop = own.get_loop()
        if loop not in self._tasks:
            self._tasks[loop] = _tasks_by_call(loop)
        found = [task for task in self._tasks[loop].get(id(call), ()) if task is not own]
        return [
            (task, f"task {printable(task.get_name())[:_TEXT_MAX]}")
            for task in sorted(found, key=asyncio.Task.get_name)
        ]


def _places(frames: Iterable[tuple[FrameType, int]]) -> tuple[Place, ...]:
    """Describe frames, the innermost first, without those of the engine."""
    all_places = [
        Place(
            printable(frame.f_code.co_filename)[-_TEXT_MAX:], line, printable(frame.f_code.co_qualname)[:_TEXT_MAX],
            is_file_of_user(frame.f_code.co_filename),
        )
        for frame, line in frames
        if not is_engine_code(frame.f_code)
    ]  # fmt: skip
    inner = next((index for index, place in enumerate(all_places) if place.user), len(all_places))
    users = [place for place in all_places if place.user]
    return tuple(users[:_FRAMES_MAX] + all_places[:inner][-_FRAMES_MAX // 4 :])


def _of_task(
    task: asyncio.Task[Any], threads: dict[int, FrameType], running_in: int | None
) -> tuple[list[tuple[FrameType, int]], set[int]]:
    """Return the frames of a task, the innermost first, and the futures that it waits for, by ``id()``."""
    if running_in is not None and asyncio.current_task(task.get_loop()) is task:
        frame = threads.get(running_in)
        return ([] if frame is None else list(_outer(frame))), set()
    frames, futures = [], set[int]()
    waiting: Any = task.get_coro()
    for _ in range(_CHAIN_MAX):
        if waiting is None:
            break
        frame, line, following = _step(waiting)
        if frame is not None:
            frames.append((frame, line))
            if is_engine_code(frame.f_code) and (inner := _generator_in(frame)) is not None and following is not inner:
                frames += _suspended(inner)
        if isinstance(waiting, asyncio.Future):
            futures |= _behind(waiting)
        waiting = following
    return frames[::-1], futures


def _step(waiting: Any) -> tuple[FrameType | None, int, Any]:
    """Return the frame of what is awaited, its line, and what that awaits."""
    if isinstance(waiting, CoroutineType):
        frame, following = waiting.cr_frame, waiting.cr_await
    elif isinstance(waiting, AsyncGeneratorType):
        frame, following = waiting.ag_frame, waiting.ag_await
    elif isinstance(waiting, GeneratorType):
        frame, following = waiting.gi_frame, waiting.gi_yieldfrom
    elif isinstance(waiting, asyncio.Future):
        return None, 0, None
    else:  # what wraps one of these and does not show it, as the steps of async generators do
        kinds = (CoroutineType, AsyncGeneratorType, GeneratorType, asyncio.Future)
        return None, 0, next((one for one in gc.get_referents(waiting) if isinstance(one, kinds)), None)
    return frame, (frame.f_lineno or 0) if frame is not None else 0, following


def _suspended(generator: Any) -> list[tuple[FrameType, int]]:
    frames = []
    for _ in range(_CHAIN_MAX):
        frame, line, generator = _step(generator)
        if frame is not None:
            frames.append((frame, line))
        if generator is None:
            break
    return frames


def _generator_in(frame: FrameType) -> Any:
    """Return the generator that a function of the engine drives: it may stand at its ``yield``."""
    found = frame.f_locals.get("generator")
    if isinstance(found, AsyncGeneratorType):
        return None if found.ag_running else found
    return found if isinstance(found, GeneratorType) and not found.gi_running else None


def _outer(frame: FrameType) -> Iterator[tuple[FrameType, int]]:
    one: FrameType | None = frame
    for _ in range(_CHAIN_MAX):
        if one is None:
            return
        yield one, one.f_lineno or 0
        one = one.f_back


def _with_generators(frames: Iterable[tuple[FrameType, int]]) -> Iterator[tuple[FrameType, int]]:
    for frame, line in frames:
        if is_engine_code(frame.f_code) and (generator := _generator_in(frame)) is not None:
            yield from reversed(_suspended(generator))
        yield frame, line


def _tasks_by_call(loop: asyncio.AbstractEventLoop) -> dict[int, list[asyncio.Task[Any]]]:
    """Return the tasks of an event loop by the ``id()`` of the call that they work for."""
    found: dict[int, list[asyncio.Task[Any]]] = {}
    try:
        tasks = asyncio.all_tasks(loop)
    except RuntimeError:  # they have changed each time
        return found
    for task in tasks:
        for call in _calls_of(task):
            found.setdefault(call, []).append(task)
    return found


def _calls_of(task: asyncio.Task[Any]) -> set[int]:
    if (context := getattr(task, "get_context", None)) is not None:
        contexts = [context()]
    else:  # Python 3.11 does not tell the context of a task, but that of those who wait for it
        contexts = [context for _, context in getattr(task, "_callbacks", None) or () if context is not None]
    return {id(call) for context in contexts if (call := context.get(current_call_var)) is not None}


def _behind(future: asyncio.Future[Any]) -> set[int]:
    """Return the ids of a future and of the futures of threads that it stands for."""
    found = {id(future)}
    for callback, _ in getattr(future, "_callbacks", None) or ():
        for cell in getattr(callback, "__closure__", None) or ():
            if isinstance(value := cell.cell_contents, ThreadFuture):
                found.add(id(value))
    return found


def _works_for(frame: FrameType, call: CurrentCall, awaited: set[int]) -> bool:
    """Tell whether a thread runs something for a call: its function, or what one of its tasks waits for."""
    for one, _ in _outer(frame):
        if one.f_code.co_name not in ("run", "_run", "run_in_thread"):
            continue
        variables = one.f_locals
        work = variables.get("self")
        futures = (variables.get("future"), getattr(work, "future", None))
        if any(future is not None and id(future) in awaited for future in futures) or variables.get("active") is call:
            return True
    return False
