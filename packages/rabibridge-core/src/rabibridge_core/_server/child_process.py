"""One child process of a service: started, given one call at a time, and stopped."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from rabibridge_core._server.child_exit import ChildGuard, how_it_ended, kill_group, watch_exit
from rabibridge_core._server.child_frames import FrameReceiver, MalformedFrameError, pack
from rabibridge_core._server.child_log import handle_record, log_levels
from rabibridge_core._server.child_stacks import CAN_ASK, ChildStacks

if TYPE_CHECKING:
    from collections.abc import Callable

    from rabibridge_core.introspection.running import CallStack

__all__ = ["ChildGoneError", "ChildLaunch", "ChildProcess", "ChildStartError", "interpreter_flags"]

_BOOT: Final = str(Path(__file__).parent.parent / "_hosting" / "child_boot.py")
_PIECE = 256 * 1024
"""A large body is written in pieces of so many bytes, between which the event loop serves others."""
_LEAVING = 5.0
"""How long a child may take to clean up when it is asked to end, in seconds; then it is killed."""
_HELD_OPEN = 1.0


class ChildStartError(Exception):
    """A child process could not be started, or cannot serve."""


class ChildGoneError(Exception):
    """The child process has ended; the text says how.

    Attributes:
        exit_code: its exit code, negative for a signal; ``None`` if it is not known.
    """

    def __init__(self, text: str, exit_code: int | None) -> None:
        """Store how it has ended."""
        super().__init__(text)
        self.exit_code = exit_code


@dataclass(frozen=True, slots=True)
class ChildLaunch:
    """What a child is told when it starts.

    Attributes:
        service: the name of the service, which the list of processes shows.
        fields: what it serves.
        codec: the codec, pickled. It goes to no other process than a child of this one.
    """

    service: str
    fields: dict[str, Any]
    codec: bytes


class ChildProcess(asyncio.BufferedProtocol):
    """One child process. It leads a process group of its own, to which the processes that it starts belong, too.

    It does not import the program again: it imports the module of the function alone. It hears the worker through one
    socket that nobody else has, so that a child that is killed in the middle of a message harms no other.
    """

    def __init__(self, launch: ChildLaunch, guard: ChildGuard) -> None:
        """Start nothing yet."""
        self._launch = launch
        self._guard = guard
        self._loop = asyncio.get_running_loop()
        self._receiver = FrameReceiver(self._frame)
        self._process: subprocess.Popen[bytes] | None = None
        self._stacks = ChildStacks() if CAN_ASK else None
        self._transport: asyncio.Transport | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._ready: asyncio.Future[None] = self._loop.create_future()
        self._reply: asyncio.Future[tuple[dict[str, Any], bytes]] | None = None
        self._progress: Callable[[float | None, str], None] | None = None
        self._exited = self._lost = False
        self._malformed = ""
        self.gone: asyncio.Future[None] = self._loop.create_future()
        """Done when the process has ended and was reaped."""
        self.exit_code: int | None = None
        self.ending = False
        """Whether it was asked to end, or killed, by this worker."""
        self.calls = 0
        """How many calls it has answered."""

    @property
    def pid(self) -> int:
        """The id of the process; 0 before it is started."""
        return 0 if self._process is None else self._process.pid

    def describe_end(self) -> str:
        """Return how it has ended, for logs and errors."""
        return how_it_ended(self.exit_code) + (f" after it had sent {self._malformed}" if self._malformed else "")

    async def start(self) -> None:
        """Start the process, and wait until it can be called.

        Raises:
            ChildStartError: it cannot be. :attr:`gone` is done, or will be soon.
        """
        try:
            self._spawn()
            await self._begin()
            await self._ready
        except BaseException:
            self.kill()
            if self._process is None and not self.gone.done():
                self._close_stacks()
                self.gone.set_result(None)
            raise

    def _spawn(self) -> None:
        if not sys.executable:
            raise ChildStartError("sys.executable does not say which Python to start")
        ours, theirs = socket.socketpair()
        try:
            # By the thread of the event loop: on Linux, a child is killed when the thread ends that has started it.
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter, and arguments that nobody else chooses
                [sys.executable, *interpreter_flags(), "-P", _BOOT, str(theirs.fileno()), str(os.getpid()),
                 self._launch.service],
                stdin=subprocess.DEVNULL, process_group=0,
                pass_fds=(theirs.fileno(), *(() if self._stacks is None else (self._stacks.writing,))),
            )  # fmt: skip
            watch_exit(self._process, self._loop, self._has_exited)
        except (OSError, RuntimeError) as error:  # RuntimeError: no thread can be started
            ours.close()
            if self._process is not None:
                self._process.kill()
                self.exit_code, self._process = self._process.wait(), None
            raise ChildStartError(f"it cannot be started: {error}") from error
        finally:
            theirs.close()
        self._guard.add(self._process.pid)
        self._socket = ours

    async def _begin(self) -> None:
        ours = self._socket
        ours.setblocking(False)
        await self._loop.create_unix_connection(lambda: self, sock=ours)
        assert self._transport is not None
        self._transport.write(json.dumps([sys.path, sys.argv]).encode() + b"\n")
        pipe = None if self._stacks is None else self._stacks.writing
        await self._send({**self._launch.fields, "levels": log_levels(), "stacks": pipe}, self._launch.codec)

    async def call(
        self, fields: dict[str, Any], body: bytes, progress: Callable[[float | None, str], None]
    ) -> tuple[dict[str, Any], bytes]:
        """Let it run one call; return the fields and the body of its answer.

        ``progress`` is called with what the function reports meanwhile. Who cancels this must kill the child.

        Raises:
            ChildGoneError: it has ended before it answered.
        """
        self._reply = self._loop.create_future()
        self._progress = progress
        if self.gone.done():
            raise ChildGoneError(self.describe_end(), self.exit_code)
        await self._send(fields, body)
        answer = await self._reply
        self._reply = None
        self.calls += 1
        return answer

    async def _send(self, fields: dict[str, Any], body: bytes) -> None:
        assert self._transport is not None
        head = pack(fields, len(body))
        if len(body) <= _PIECE:
            self._transport.write(head + body)
            return
        self._transport.write(head)
        view = memoryview(body)
        for start in range(0, len(body), _PIECE):
            await self._writable.wait()
            if self._lost:
                return
            self._transport.write(view[start : start + _PIECE])

    def stacks(self, call_id: bytes, /) -> tuple[CallStack, ...]:
        """Return where a call is that it runs; it blocks for a second at most, and may be called from any thread."""
        return () if self._stacks is None else self._stacks.ask(call_id)

    def leave(self) -> None:
        """Ask it to end when it has nothing to do; it is killed if that takes long."""
        if self.ending:
            return
        self.ending = True
        if self._transport is None or self._lost:
            self.kill()
            return
        self._transport.write_eof()
        self._loop.call_later(_LEAVING, self.kill)

    def kill(self) -> None:
        """End it at once, and with it all processes that it has started."""
        self.ending = True
        if self._process is not None and not self._exited:
            kill_group(self._process.pid)

    def _has_exited(self) -> None:
        assert self._process is not None
        kill_group(self._process.pid)  # what it has started and left behind
        self.exit_code = self._process.wait() if self._stacks is None else self._stacks.ended(self._process.wait)
        self._exited = True
        self._guard.discard(self._process.pid)
        if self._transport is not None and not self._lost:
            self._loop.call_later(_HELD_OPEN, self._transport.abort)  # a process that left the group may have it
        self._check_gone()

    def _check_gone(self) -> None:
        if not self._exited or (self._transport is not None and not self._lost) or self.gone.done():
            return
        self._close_stacks()
        self.gone.set_result(None)
        error = ChildGoneError(self.describe_end(), self.exit_code)
        if not self._ready.done():
            self._ready.set_exception(ChildStartError(f"it {error} while it was starting"))
        if self._reply is not None and not self._reply.done():
            self._reply.set_exception(error)

    def _close_stacks(self) -> None:
        if self._stacks is not None:
            self._stacks.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio."""
        self._transport = cast("asyncio.Transport", transport)  # that of uvloop is none by its class

    def get_buffer(self, sizehint: int) -> memoryview:
        """Called by asyncio."""
        return self._receiver.space()

    def buffer_updated(self, nbytes: int) -> None:
        """Called by asyncio."""
        try:
            self._receiver.written(nbytes)
        except MalformedFrameError as error:
            self._malformed = str(error)
            self.kill()
            assert self._transport is not None
            self._transport.abort()

    def pause_writing(self) -> None:
        """Called by asyncio."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Called by asyncio."""
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by asyncio."""
        self._lost = True
        self._writable.set()
        if not self._exited and not self.ending:
            kill_group(self.pid)  # it has closed the connection: it is of no use, and may be in any state
        self._check_gone()

    def _frame(self, fields: dict[str, Any], body: bytes) -> None:
        kind = fields.get("kind")
        if kind == "log":
            handle_record(fields, self.pid)
        elif kind == "progress":
            if self._reply is not None and self._progress is not None:
                self._progress(fields["fraction"], fields["text"])
        elif kind == "ready" and not self._ready.done():
            if self._stacks is not None:
                self._stacks.started(self.pid)
            self._ready.set_result(None)
        elif kind == "failed" and not self._ready.done():
            self.ending = True
            self._ready.set_exception(ChildStartError(str(fields.get("text"))))
        elif self._reply is not None and not self._reply.done():
            self._reply.set_result((fields, body))


def interpreter_flags() -> list[str]:
    """Return the options that child processes get as the standard library gives them to its own."""
    flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined] # pyright: ignore
    return flags  # as the standard library gives them to its own child processes
