"""Checks each permission that a client, a server and an operator need, and says what is missing without it."""

from __future__ import annotations

import secrets
import shlex
from typing import TYPE_CHECKING

from rabibridge._connection.names import CANCEL_PREFIX
from rabibridge._operations.permissions import PermissionTrials
from rabibridge_core._protocol.control import control_key
from rabibridge_core.operations.findings import Finding, Report, Status

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from rabibridge._connection.session import Session
    from rabibridge_core.operations.operator import Role
    from rabibridge_core.transport import ServiceQueue

__all__ = ["check_permissions"]

_DEFAULT = "amq.default"
_OWN = "amq.gen-*"


async def check_permissions(
    session: Session, role: Role, queues: Sequence[ServiceQueue], limit: float, findings: Report, *, publishing: bool
) -> None:
    """Try out all permissions that a role needs.

    Args:
        session: a connection of the user.
        role: what the user is for.
        queues: the queues that it serves, as they are named on the broker; empty: the name of a queue is made up.
        limit: the time for each trial, in seconds.
        findings: to which one line for each permission is added.
        publishing: whether messages may be published: while the broker accepts none, it would block the connection.
    """
    check = _Check(session, PermissionTrials(session, limit), findings, publishing=publishing)
    if role == "operator":
        await check.operator()
        return
    if role != "server":
        await check.client()
    if role != "client":
        made_up = session.names.queue(f"rpc_async_doctor.{secrets.token_hex(4)}")
        await check.server([queue.name for queue in queues] or [made_up])
        if session.names.namespace:
            await check.topics(queues)


class _Check:
    def __init__(self, session: Session, trials: PermissionTrials, findings: Report, *, publishing: bool) -> None:
        self._session = session
        self._names = session.names
        self._publishing = publishing
        self._trials = trials
        self._findings = findings
        self._own_queue: tuple[str | None] | None = None

    async def client(self) -> None:
        await self._add_publish("client", self._names.exchange, "no call can be sent")
        if not self._session.direct_reply:
            await self._add_own_queue(
                "client",
                ("configure", "read"),
                Status.FAILURE,
                "no reply can be received; or let the client use direct reply-to, which needs no permission "
                "(RABIBRIDGE_DIRECT_REPLY=1)",
            )

    async def server(self, queues: Sequence[str]) -> None:
        trials, some_queue = self._trials, queues[0]
        for queue in queues:
            await self._add("server", "configure", queue, trials.configure(queue), "the queue cannot be declared")
            await self._add("server", "write", queue, trials.write(queue), "the queue cannot be bound")
            await self._add("server", "read", queue, trials.read(queue), "no call can be received")
        await self._add(
            "server",
            "read",
            self._names.exchange,
            trials.read_exchange(self._names.exchange, some_queue),
            "no call arrives",
        )
        await self._add_publish("server", _DEFAULT, "no reply can be sent")
        await self._add(
            "server",
            "configure",
            self._names.exchange,
            trials.configure(self._names.exchange),
            "another user must have declared the exchange",
            Status.WARNING,
        )
        await self._for_any(some_queue)
        await self._add_own_queue(
            "server",
            ("configure", "write", "read"),
            Status.WARNING,
            "cancellations, broadcasts and further messages of streams do not arrive",
        )
        await self._add(
            "server",
            "configure",
            self._names.dead_letters,
            trials.configure(self._names.dead_letters),
            "dead letters are dropped unless another user has declared the queue",
            Status.WARNING,
        )
        await self._add_read_dead(Status.WARNING)

    async def operator(self) -> None:
        lock = f"{self._names.dead_letters}.lock"
        await self._add_publish("operator", self._names.exchange, "workers cannot be asked about themselves")
        await self._add_own_queue("operator", ("configure", "read"), Status.FAILURE, "no answer can be received")
        await self._add_read_dead(Status.FAILURE)
        await self._add_publish("operator", _DEFAULT, "'rabibridge dead requeue' cannot move dead letters back")
        trial = self._trials.configure(lock)
        without = "operators who look at dead letters at the same time do not take turns"
        await self._add("operator", "configure", lock, trial, without, Status.WARNING)

    async def topics(self, queues: Sequence[ServiceQueue]) -> None:
        """Check the routing keys that a server binds queues with."""
        keys = dict.fromkeys(key for queue in queues for key in queue.routing_keys)
        for key in (*keys, *(CANCEL_PREFIX + key for key in (*keys, control_key()))):
            queue = queues[0].name if queues else self._names.queue("rpc_async_doctor")
            if await self._trials.read_topic(key, queue):
                continue
            status = Status.WARNING if key.startswith(CANCEL_PREFIX) else Status.FAILURE
            user, vhost = self._session.endpoint.username, self._session.endpoint.virtualhost
            text = f"the user {user!r} may not bind queues to it: what is sent with it does not arrive"
            advice = (
                f"rabbitmqctl set_topic_permissions -p {shlex.quote(vhost)} {shlex.quote(user)} "
                f"{shlex.quote(self._names.exchange)} WRITE READ, of which READ must match {key!r}; rabibridge "
                "permissions server prints what is needed"
            )
            self._findings.append(Finding("permission", f"server: routing key {key!r}", status, text, advice))

    async def _add_read_dead(self, status: Status) -> None:
        dead = self._names.dead_letters
        without = "'rabibridge dead' cannot look at dead letters"
        await self._add("operator", "read", dead, self._trials.read(dead), without, status)

    async def _for_any(self, queue: str) -> None:
        without = "calls with ftype='any' do not arrive"
        trials = self._trials
        for exchange in (self._names.any_exchange, self._names.any_second_exchange):
            await self._add(
                "server",
                "configure",
                exchange,
                trials.configure(exchange),
                f"{without} unless another user has declared the exchange",
                Status.WARNING,
            )
            await self._add("server", "read", exchange, trials.read_exchange(exchange, queue), without, Status.WARNING)
        await self._add(
            "server",
            "write",
            self._names.any_exchange,
            trials.write_exchange(self._names.any_exchange, self._names.exchange),
            without,
            Status.WARNING,
        )

    async def _add(
        self,
        who: str,
        permission: str,
        name: str,
        trial: Awaitable[bool | None],
        without: str,
        status: Status = Status.FAILURE,
    ) -> None:
        self._report(who, permission, name, without, status, granted=await trial)

    async def _add_publish(self, who: str, exchange: str, without: str) -> None:
        if self._publishing:
            trial = self._trials.publish("" if exchange == _DEFAULT else exchange)
            await self._add(who, "write", exchange, trial, without)
        else:
            text = "not tried: the broker accepts no messages now"
            self._findings.append(Finding("permission", f"{who}: write {exchange!r}", Status.WARNING, text))

    async def _add_own_queue(self, who: str, needed: Sequence[str], status: Status, without: str) -> None:
        if self._own_queue is None:
            self._own_queue = (await self._trials.own_queue(),)
        missing = self._own_queue[0]
        for permission in needed:
            self._report(who, permission, _OWN, without, status, granted=permission != missing)
            if permission == missing:
                return  # what comes after it was not tried

    def _report(
        self, who: str, permission: str, name: str, without: str, status: Status, *, granted: bool | None
    ) -> None:
        subject = f"{who}: {permission} {name!r}"
        if granted:
            self._findings.append(Finding("permission", subject, Status.OK, "granted"))
            return
        if granted is None:
            text = "not tried: that takes the permission to write to the queue"
            self._findings.append(Finding("permission", subject, Status.WARNING, text))
            return
        user, vhost = self._session.endpoint.username, self._session.endpoint.virtualhost
        position = {"configure": "CONFIGURE", "write": "WRITE", "read": "READ"}[permission]
        self._findings.append(
            Finding(
                "permission",
                subject,
                status,
                f"the user {user!r} lacks it: {without}",
                f"rabbitmqctl set_permissions -p {shlex.quote(vhost)} {shlex.quote(user)} CONFIGURE WRITE READ, of "
                f"which {position} must match {name!r}",
            )
        )
