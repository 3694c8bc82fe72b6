"""The broker as the chaos tests see it: virtual hosts of their own, a user with a password, and what there is now."""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tools.broker import Broker

__all__ = ["Census", "ChaosBroker"]

_VHOSTS = 24
_CENSUS = """
V = <<"%(vhost)s">>,
Queues = fun() -> [{Q, rabbit_amqqueue:info(Q, [messages_ready, messages_unacknowledged])} ||
                   Q <- rabbit_amqqueue:list(V)] end,
Number = fun(N) when is_integer(N) -> N; (_) -> 0 end,
Get = fun(Key, Items) -> proplists:get_value(Key, Items, 0) end,
Connections = fun() -> [C || C <- rabbit_networking:connection_info_all([vhost, channels]), Get(vhost, C) =:= V] end,
Busy = fun(Qs, Cs) ->
    lists:sum([Number(Get(messages_ready, I)) || {_, I} <- Qs]) =/= %(left)d orelse
    lists:sum([Number(Get(messages_unacknowledged, I)) || {_, I} <- Qs]) =/= 0 orelse
    length(Cs) =/= %(connections)d orelse lists:sum([Number(Get(channels, C)) || C <- Cs]) > %(channels)d
end,
Look = fun Look(Left) ->
    Qs = Queues(), Cs = Connections(),
    case Left > 0 andalso Busy(Qs, Cs) of true -> timer:sleep(100), Look(Left - 1); false -> {Qs, Cs} end
end,
{Qs, Cs} = Look(%(looks)d),
[io:format("connection ~~w~~n", [Get(channels, C)]) || C <- Cs],
[begin {resource, _, _, Name} = amqqueue:get_name(Q),
       Exclusive = amqqueue:get_exclusive_owner(Q) =/= none,
       io:format("queue ~~s ~~w ~~w ~~w ~~w~~n", [Name, Get(messages_ready, I), Get(messages_unacknowledged, I),
                 length(rabbit_amqqueue:consumers(Q)), Exclusive]) end || {Q, I} <- Qs], ok.
""".replace("~~", "~")
_CLOSE_ALL = """
V = <<"%(vhost)s">>,
Ours = fun() -> [proplists:get_value(pid, C) || C <- rabbit_networking:connection_info_all([pid, vhost, state]),
                 proplists:get_value(vhost, C) =:= V, proplists:get_value(state, C) =:= running] end,
All = fun All(Left) ->
    Pids = Ours(),
    case length(Pids) >= %(connections)d orelse Left =:= 0 of
        true -> Pids;
        false -> timer:sleep(20), All(Left - 1)
    end
end,
Rounds = [begin Pids = All(500), timer:sleep(50), rabbit_networking:close_connections(Pids, <<"for a test">>),
                length(Pids) end || _ <- lists:seq(1, %(times)d)],
io:format("closed ~w~n", [lists:sum(Rounds)]).
"""


@dataclass
class Census:
    """What there is in a virtual host.

    Attributes:
        channels: of all connections together.
        waiting: messages that wait, by queue; queues without any are left out.
        unsettled: messages that are held by a consumer, likewise.
        consuming: consumers, by queue; those of exclusive queues together.
        exclusive: queues that belong to one connection.
    """

    connections: int = 0
    channels: int = 0
    exclusive: int = 0
    waiting: dict[str, int] = field(default_factory=dict)
    unsettled: dict[str, int] = field(default_factory=dict)
    consuming: Counter[str] = field(default_factory=Counter)

    @property
    def consumers(self) -> int:
        return self.consuming.total()

    @classmethod
    def read(cls, text: str) -> Census:
        census = cls()
        for line in text.splitlines():
            match line.split():
                case ["connection", channels]:
                    census.connections += 1
                    census.channels += int(channels)
                case ["queue", name, ready, held, consumers, exclusive]:
                    census._count(name, ready, held, consumers, exclusive=exclusive == "true")
        return census

    def _count(self, name: str, ready: str, held: str, consumers: str, *, exclusive: bool) -> None:
        self.exclusive += exclusive
        self.consuming["exclusive" if exclusive else name] += int(consumers)
        for counts, number in ((self.waiting, ready), (self.unsettled, held)):
            if number not in ("0", "''"):
                counts[name] = int(number)


class ChaosBroker:
    """A broker with a user for these tests, whose password can be looked for in the logs.

    Virtual hosts and the user outlive a restart of the broker.
    """

    settling = 20.0

    def __init__(self, node: Broker) -> None:
        self.node = node
        self.user = f"chaos-{secrets.token_hex(4)}"
        self.password = f"secret-{secrets.token_hex(12)}"
        self._vhosts: list[str] = []

    async def vhost(self) -> str:
        """Return a virtual host that nobody has used."""
        if not self._vhosts:
            vhosts = [f"chaos-{secrets.token_hex(6)}" for _ in range(_VHOSTS)]
            names = ", ".join(f'<<"{name}">>' for name in vhosts)
            await self.eval(
                f'User = <<"{self.user}">>, '
                f"rabbit_auth_backend_internal:exists(User) orelse "
                f'rabbit_auth_backend_internal:add_user(User, <<"{self.password}">>, User), '
                f"Allow = fun(U, V) -> rabbit_auth_backend_internal:set_permissions("
                f'U, V, <<".*">>, <<".*">>, <<".*">>, User) end, '
                f'[begin rabbit_vhost:add(V, User), Allow(User, V), Allow(<<"{self.node.username}">>, V) end || '
                f"V <- [{names}]]."
            )
            self._vhosts = vhosts
        return self._vhosts.pop()

    def url(self, vhost: str, heartbeat: int | None = None) -> str:
        query = f"?heartbeat={heartbeat}" if heartbeat else ""
        return f"amqp://{self.user}:{self.password}@{self.node.host}:{self.node.port}/{vhost}{query}"

    async def ctl(self, *args: str) -> str:
        """Run rabbitmqctl beside the event loop."""
        return await asyncio.to_thread(self.node.ctl, *args)

    async def eval(self, code: str) -> str:
        """Evaluate Erlang on the broker: it is faster to look there several times than to ask several times."""
        return await self.ctl("eval", code)

    async def census(
        self, vhost: str, *, left: int = 0, connections: int = 0, channels: int = 0, seconds: float = 0.0
    ) -> Census:
        """Count what there is, once so much waits and nothing else is under way, or after so many seconds."""
        wanted = {"left": left, "connections": connections, "channels": channels, "looks": int(seconds * 10)}
        return Census.read(await self.eval(_CENSUS % {"vhost": vhost, **wanted}))

    async def close_connections(self, vhost: str, *, connections: int, times: int = 1) -> None:
        """Close all connections as rabbitmqctl does, whenever so many of them stand, so many times."""
        closed = await self.eval(_CLOSE_ALL % {"vhost": vhost, "connections": connections, "times": times})
        assert int(closed.split()[1]) >= connections * times, closed

    async def allow(self, vhost: str, configure: str, write: str, read: str, *, user: str = "") -> None:
        await self.ctl("set_permissions", "-p", vhost, user or self.user, configure, write, read)
