"""The fewest permissions on the broker that a caller, a server or an operator needs, and the commands that grant them.

RabbitMQ grants by regular expressions on names. In a namespace, the exchanges are topic exchanges, so that publishing
and binding can be limited to the routing keys of some services as well.
"""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from rabibridge._connection.names import Names
from rabibridge_core._protocol.control import control_key
from rabibridge_core._protocol.naming import check_service_name
from rabibridge_core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    PermissionRole = Literal["caller", "server", "operator"]

__all__ = ["PermissionSet", "Permissions", "TopicPermissions", "names_in", "permission_set"]

_OWN_QUEUES = r"amq\.gen.*"
_DEFAULT = r"amq\.default"
_NOTHING = "^$"
_CLASS = "(:[A-Za-z0-9_.-]+)?"
_STREAM_KEY = "stream:[0-9a-f]{32}"


class Permissions(NamedTuple):
    """What a user may do, as regular expressions on names of queues and exchanges."""

    configure: str
    write: str
    read: str

    def command(self, user: str, vhost: str) -> list[str]:
        """Return the command that grants them."""
        return ["rabbitmqctl", "set_permissions", "-p", vhost, user, *self]


class TopicPermissions(NamedTuple):
    """The routing keys of one topic exchange that a user may publish to (write) and bind queues with (read)."""

    exchange: str
    write: str
    read: str

    def command(self, user: str, vhost: str) -> list[str]:
        """Return the command that grants them."""
        return ["rabbitmqctl", "set_topic_permissions", "-p", vhost, user, *self]


class PermissionSet(NamedTuple):
    """All permissions of one user.

    Attributes:
        permissions: those on names.
        topics: those on routing keys; empty: all routing keys.
        definitions: what must exist, since the user may not declare it; empty: nothing.
    """

    permissions: Permissions
    topics: tuple[TopicPermissions, ...]
    definitions: dict[str, Any]

    def commands(self, user: str, vhost: str) -> list[str]:
        """Return the commands that grant them, for a shell."""
        found = [self.permissions.command(user, vhost), *(topic.command(user, vhost) for topic in self.topics)]
        if not self.topics:  # of an earlier set
            found.append(["rabbitmqctl", "clear_topic_permissions", "-p", vhost, user])
        lines = [shlex.join(command) for command in found]
        if self.definitions:
            lines.insert(0, f"echo {shlex.quote(json.dumps(self.definitions))} | rabbitmqctl import_definitions")
        return lines

    def to_json(self, user: str, vhost: str) -> dict[str, Any]:
        """Return them in the form in which RabbitMQ's definitions have them."""
        who = {"user": user, "vhost": vhost}
        return {
            **self.definitions,
            "permissions": [{**who, **self.permissions._asdict()}],
            "topic_permissions": [{**who, **topic._asdict()} for topic in self.topics],
        }


def names_in(namespace: str) -> Names:
    """Return the names of a namespace; empty: without one."""
    return Names(namespace)


def permission_set(
    role: PermissionRole,
    names: Names,
    services: Sequence[str] = (),
    *,
    vhost: str = "/",
    direct_reply: bool = False,
    introspection: bool = False,
    queue_states: bool = False,
) -> PermissionSet:
    """Return the fewest permissions that a user needs.

    Args:
        role: what it is for.
        names: the names of its namespace.
        services: the only services that a caller calls, that a server serves, or whose queues an operator empties and
            deletes. None: all, and for an operator no queue.
        vhost: the virtual host.
        direct_reply: whether a caller receives its replies by direct reply-to.
        introspection: whether a caller that is limited to ``services`` may ask workers about themselves, too.
        queue_states: whether a caller may see how many workers and calls a queue has, for which RabbitMQ 4.3 and later
            want a permission of the queue. That is the one to write, which allows nothing else to a caller: it would
            bind a queue to exchanges that one may read, and a caller may read none.

    Raises:
        ConfigurationError: a name is not that of a service, or callers cannot be limited because there is no namespace.
    """
    for service in services:
        check_service_name(service)
    if role == "caller":
        writes = _any_of(_escaped(names.exchange), *([_queues(names, services)] if queue_states else []))
        return _caller(names, services, writes, direct_reply=direct_reply, introspection=introspection)
    if role == "server":
        return _server(names, services, vhost)
    queues = [_queues(names, services)] if services else []
    dead, lock = _escaped(names.dead_letters), _escaped(f"{names.dead_letters}.lock")
    permissions = Permissions(
        _any_of(lock, _OWN_QUEUES, *queues),
        _any_of(_escaped(names.exchange), _DEFAULT, _OWN_QUEUES),
        _any_of(dead, _OWN_QUEUES, *queues),
    )
    return PermissionSet(permissions, (), {})


def _caller(
    names: Names, services: Sequence[str], writes: str, *, direct_reply: bool, introspection: bool
) -> PermissionSet:
    own = _NOTHING if direct_reply else _any_of(_OWN_QUEUES)
    topics = list[TopicPermissions]()
    if services:
        if not names.namespace:
            raise ConfigurationError(
                "a caller can be limited to some services only in a namespace, because RabbitMQ limits routing keys of "
                f"topic exchanges alone, and {names.exchange!r} is a direct one: name one with --namespace, and set "
                "RABIBRIDGE_NAMESPACE for callers and servers"
            )
        keys = [_keys(services), _STREAM_KEY, *([f"cancel:{control_key()}"] if introspection else [])]
        topics.append(TopicPermissions(names.exchange, _any_of(*keys), _NOTHING))
    return PermissionSet(Permissions(own, writes, own), tuple(topics), {})


def _server(names: Names, services: Sequence[str], vhost: str) -> PermissionSet:
    exchange, dead = _escaped(names.exchange), _escaped(names.dead_letters)
    both_any = [_escaped(names.any_exchange), _escaped(names.any_second_exchange)]
    queues = _queues(names, services)
    # Who may declare an exchange may delete it, and declare it as one whose routing keys are not limited.
    declares = [] if services else [exchange, *both_any, dead]
    permissions = Permissions(
        _any_of(queues, _OWN_QUEUES, *declares),
        _any_of(
            queues, _OWN_QUEUES, _DEFAULT, *both_any[: 1 if services else 2]
        ),  # to the second: to declare the first
        _any_of(queues, _OWN_QUEUES, exchange, *both_any),
    )
    topics = list[TopicPermissions]()
    if services and names.namespace:
        keys = _any_of(_keys(services), f"cancel:{control_key()}", _STREAM_KEY)
        topics.append(TopicPermissions(names.exchange, _NOTHING, keys))
        any_keys = _any_of(f"any:{_one_of(services)}{_CLASS}")
        topics += [TopicPermissions(name, _NOTHING, any_keys) for name, _ in names.any_exchanges]
    return PermissionSet(permissions, tuple(topics), _definitions(names, vhost) if services else {})


def _definitions(names: Names, vhost: str) -> dict[str, Any]:
    common = {"vhost": vhost, "durable": True, "auto_delete": False}
    exchanges = [
        {"name": name, **common, "type": names.exchange_type, "internal": False, "arguments": arguments}
        for name, arguments in ((names.exchange, {}), *names.any_exchanges)
    ]
    return {
        "exchanges": exchanges,
        "queues": [{"name": names.dead_letters, **common, "arguments": names.dead_letters_arguments}],
    }


def _queues(names: Names, services: Sequence[str]) -> str:
    return names.queue("rpc_(async|sync)_") + (_one_of(services) + _CLASS if services else ".*")


def _keys(services: Sequence[str]) -> str:
    return f"(cancel:)?(async_|sync_|any:){_one_of(services)}{_CLASS}"


def _one_of(services: Sequence[str]) -> str:
    return f"({'|'.join(map(_escaped, services))})"


def _any_of(*patterns: str) -> str:
    joined = "|".join(patterns)
    return f"^({joined})$" if len(patterns) > 1 else f"^{joined}$"


def _escaped(name: str) -> str:
    return name.replace(".", r"\.")
