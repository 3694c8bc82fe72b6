"""One connection to the server, from its log-in to its loss: it is never repaired, but replaced by another one."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Any

import hiredis

from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger
from rabibridge_core.errors import ConnectionLostError
from rabibridge_redis._resp.link import Link, resolve
from rabibridge_redis._resp.refusals import ends_session, is_unknown_script, log_in_error, permission_error
from rabibridge_redis._scripts.scripts import SCRIPTS
from rabibridge_redis._session.location import check_role, is_sentinel, owner_of, primary_of
from rabibridge_redis._session.log_in import Login, log_in
from rabibridge_redis.settings import redis_settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from rabibridge_core.settings import Endpoint, Settings
    from rabibridge_redis._resp.link import Answer
    from rabibridge_redis._session.log_in import Server

__all__ = ["Session"]

_log = get_logger(__name__)
_ATTEMPT_TIMEOUT = 10.0
_READ_AT_ONCE = 512
_PAUSE_MAX, _MARGIN = 20.0, 10.0
_SILENCE_MAX = 27.0
_PATIENCE = 2.0
"""How many seconds :meth:`Session.close` waits for the server."""


class Session:
    """Three links to one server: for commands, which are pipelined, for what is sent to us, and for channels.

    A server closes a link that listens to channels once 32 MiB wait in it: no body goes through that one.

    Attributes:
        token: the name of the session, which cannot be guessed.
        serves: the queues that it takes requests from.
        pause: for how many seconds a session that does nothing is silent: then its lease is extended. The server says
            something in that time, too.
        attempt_timeout: how many seconds it may take to open it, and again to set up what is used on it.
        lost: set when it is lost or closed.
        error: why; ``None`` before.
        blocked_for: not counted here: a server without memory refuses single requests.
    """

    blocked_for = 0.0

    def __init__(self, endpoint: Endpoint, settings: Settings, name: str) -> None:
        """Prepare a session; :meth:`open` opens it."""
        self.endpoint, self.name = endpoint, name
        self.token = secrets.token_hex(16)
        self.prefix = f"rpc:{settings.namespace}:"
        self.serves = set[str]()
        self.lost = asyncio.Event()
        self.error: ConnectionLostError | None = None
        self._options = redis_settings(settings)
        lease = self._options.lease
        self.lease_ms = int(lease * 1000)
        self.pause = min(max(lease / 3, lease - _MARGIN), _PAUSE_MAX)
        self._patience = min(0.9 * lease, _SILENCE_MAX)
        self._database = endpoint.virtualhost.strip("/") or "0"
        self._script_keys: tuple[str, ...] = ("0", self.prefix)
        self.attempt_timeout = min(settings.connect_timeout, _ATTEMPT_TIMEOUT)
        self._on_push: Callable[[bytes, bytes], None] = _ignore
        self._on_message: Callable[[bytes, bytes], None] = _ignore
        self._on_lost: Callable[[], None] | None = None
        self._last_read = b"0"
        self._use_new_links()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.endpoint} {self.token[:8]} {'lost' if self.error else 'open'}>"

    def _use_new_links(self) -> None:
        self._links = [Link(self.fail, self._pushed) for _ in range(3)]
        self.commands, self._inbox, self.listener = self._links

    def key(self, kind: str, name: str) -> str:
        """Return the name of a key, or of the channel of a session."""
        return f"{self.prefix}{kind}:{name}"

    def channel(self, kind: str, name: str) -> str:
        """Return the name of a channel of a service: unlike keys, channels are not apart for each database."""
        return f"{self.prefix}{kind}{self._database}:{name}"

    async def open(self) -> None:
        """Connect, log in, and begin to exist for others.

        Raises:
            ConnectionLostError: the server cannot be reached.
            ConfigurationError: the server refuses permanently.
        """
        try:
            async with asyncio.timeout(self.attempt_timeout):
                await self._connect()
                await self._begin()
        except TimeoutError as error:
            why = f"{self.endpoint} has not answered within {self.attempt_timeout:g} s"
            raise ConnectionLostError(why, executed=False) from error
        except hiredis.ReplyError as error:
            raise log_in_error(error, self.endpoint) from error

    async def _connect(self) -> None:
        own = self._options
        if is_sentinel(self.endpoint):
            self.endpoint = await primary_of(self.endpoint, own)
        server = await self._log_in()
        if server.mode == "cluster":
            self.prefix = f"{{{self.prefix[:-1]}}}:"  # all keys are in one slot
            self._script_keys = ("1", self.prefix, self.prefix)
            owner = await owner_of(self.commands, self.endpoint, self.prefix)
            if owner is not None:
                for link in self._links:
                    link.drop()
                self.endpoint = owner
                self._use_new_links()
                server = await self._log_in()
        check_role(self.endpoint, server)

    async def _log_in(self) -> Server:
        at = self.endpoint
        login = Login(at.username, at.password, at.virtualhost, self.name)
        return (await asyncio.gather(*(log_in(link, at, self._options, login) for link in self._links)))[0]

    async def _begin(self) -> None:
        link = self.commands
        await self.listener.subscribe(self.key("s", self.token))  # others look there whether a session is alive
        for script in SCRIPTS.values():
            link.send(None, None, "SCRIPT", "LOAD", script.source)
        inbox = self.key("i", self.token)
        self._last_read = await link.ask("XADD", inbox, "*", "m", b"", "b", b"")
        await link.ask("PEXPIRE", inbox, self.lease_ms)
        self._read_inbox(trim=False)

    def run(self, script: str, answer: Answer, context: Any, *arguments: str | bytes | int) -> None:
        """Run a script on the server; ``answer(context, ...)`` is called with what it returns, or a ReplyError."""
        self.commands.send(
            self._has_run, (script, answer, context, arguments), "EVALSHA", SCRIPTS[script].digest,
            *self._script_keys, *arguments,
        )  # fmt: skip

    async def ask(self, script: str, *arguments: str | bytes | int) -> Any:
        """Run a script and return what it returns.

        Raises:
            ReplyError: the server refuses.
            ConnectionLostError: the session is lost.
        """
        if self.error is not None:
            raise ConnectionLostError(str(self.error), executed=False)
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        waiting = asyncio.ensure_future(self.lost.wait())
        self.run(script, resolve, future, *arguments)
        try:
            await asyncio.wait((future, waiting), return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
        if not future.done():
            raise ConnectionLostError(str(self.error), executed=None)
        return future.result()

    def _has_run(self, context: tuple[str, Answer, Any, tuple[Any, ...]], reply: Any) -> None:
        script, answer, inner, arguments = context
        if isinstance(reply, hiredis.ReplyError):
            if is_unknown_script(reply):  # it was not run
                self.commands.send(None, None, "SCRIPT", "LOAD", SCRIPTS[script].source)
                self.run(script, answer, inner, *arguments)
                return
            if ends_session(reply):
                self.fail(ConnectionLostError(f"{self.endpoint}: {reply}"))
                return
        answer(inner, reply)

    def receive(
        self,
        on_push: Callable[[bytes, bytes], None],
        on_message: Callable[[bytes, bytes], None],
        on_lost: Callable[[], None],
    ) -> None:
        """Pass on what is published, as channel and payload, and what is sent to this session, as meta and body.

        ``on_lost`` is called at the very moment at which the session is lost, and must not call anybody else.
        """
        self._on_push, self._on_message, self._on_lost = on_push, on_message, on_lost

    def _pushed(self, push: list[Any]) -> None:
        if push[0] == b"message":
            self._on_push(push[1], push[2])

    def _read_inbox(self, *, trim: bool) -> None:
        inbox, link = self.key("i", self.token), self._inbox
        if trim:
            ms, _, sequence = self._last_read.partition(b"-")
            link.send(_check, self, "XTRIM", inbox, "MINID", b"%b-%d" % (ms, int(sequence) + 1))
        link.send(
            self._inbox_read, None, "XREAD", "COUNT", str(_READ_AT_ONCE), "BLOCK", str(int(self.pause * 1000)),
            "STREAMS", inbox, self._last_read,
        )  # fmt: skip

    def _inbox_read(self, _: None, reply: Any) -> None:
        if isinstance(reply, hiredis.ReplyError):
            self.fail(ConnectionLostError(f"{self.endpoint}: {reply}"))
            return
        if reply is None:
            self._read_inbox(trim=False)
            return
        entries = next(iter(reply.values())) if isinstance(reply, dict) else reply[0][1]
        self._last_read = entries[-1][0]
        self._read_inbox(trim=True)
        received = self._on_message
        for _id, fields in entries:  # fields: m, meta, b, body; of several messages that were sent together
            for at in range(1, len(fields) - 2, 4):  # of what somebody else has put there, only what is complete
                received(fields[at], fields[at + 2])

    def fail(self, error: ConnectionLostError) -> None:
        """End the session because of this error; without effect if it has ended."""
        if self.error is None:
            self.error = error
            if self._on_lost is not None:
                self._on_lost()
            for link in self._links:
                link.close(error)
            self.lost.set()

    def check_silence(self, interval: float) -> None:
        """Called every ``interval`` seconds: end the session if the server is silent, for almost the time of the lease.

        With the default lease that is 27 s, and it is never longer. Time in which this process stood still does not
        count: what was sent to it meanwhile is still to be read.
        """
        # A client need not ask: with each extension of its lease, it hears itself.
        if self.listener.silent * interval >= min(self.pause + 2 * interval, self._patience - 2 * interval):
            self.listener.send(None, None, "PING")
        for link in self._links:
            link.silent = 0 if link.has_heard else link.silent + 1
            link.has_heard = False
            if link.silent * interval >= self._patience:
                self.fail(ConnectionLostError(f"{self.endpoint} has not answered for {link.silent * interval:g} s"))

    async def end_other(self, token: str, *queues: str) -> None:
        """Put back what another session has taken from ``queues``, and end it.

        Raises:
            ConfigurationError: the server refuses.
            ConnectionLostError: this session is lost.
        """
        try:
            while await self.ask("leave", token, *queues) == 0:
                continue
        except hiredis.ReplyError as error:
            raise permission_error(error, "a worker") from error

    async def close(self) -> None:
        """Put back what this session has taken from the queues that it serves, and end it."""
        try:
            if self.error is None:
                async with asyncio.timeout(_PATIENCE):
                    while await self.ask("leave", self.token, *sorted(self.serves)) == 0:
                        continue
                await self.commands.close_gracefully()
        except (TimeoutError, ConnectionLostError, hiredis.ReplyError) as error:
            _log.warning(
                "%s: closed without the server's consent: %s",
                self.name, str(error) or f"it has not answered within {_PATIENCE:g} s",
                extra=log_fields("connection.closed", instance=self.name, error=error),
            )  # fmt: skip
        finally:
            self.fail(ConnectionLostError(f"{self.name} is closed"))

    def give_up(self, error: ConnectionLostError) -> None:
        """End the session at once."""
        self.fail(error)

    def abandon(self) -> None:
        """End it without an event loop."""
        self.error = self.error or ConnectionLostError(f"{self.name} is closed")
        for link in self._links:
            link.abandon()

    @property
    def forked(self) -> bool:
        """Whether this is a forked child: the connection is that of its parent."""
        return self.commands.forked


def _ignore(_: bytes, __: bytes) -> None:
    """Drop what nobody waits for yet."""


def _check(session: Session, reply: Any) -> None:
    if isinstance(reply, hiredis.ReplyError):
        session.fail(ConnectionLostError(f"{session.endpoint}: {reply}"))
