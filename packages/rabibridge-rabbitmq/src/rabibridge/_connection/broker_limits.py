"""The limits that an operator of RabbitMQ may set, by the text with which the broker refuses what is above them."""

from __future__ import annotations

import re
import shlex
from typing import NamedTuple

__all__ = ["BrokerLimit", "broker_limit"]


class BrokerLimit(NamedTuple):
    """A limit that was reached."""

    maximum: int
    """The limit; with 0, nothing is allowed, and waiting for others does not help."""
    remedy: str
    """What an administrator of the broker can do, as a clause."""


# The names in the texts are those of the user and the virtual host of the connection; the last group is the limit, in
# brackets or not: versions differ.
_TEXTS: tuple[tuple[re.Pattern[str], str], ...] = (
    (
        re.compile(r"refused for user '(?P<name>.*)': user connection limit (?:of )?\(?(?P<maximum>\d+)"),
        "raise it by rabbitmqctl set_user_limits {name} '{{\"max-connections\": N}}'",
    ),
    (
        re.compile(r"access to vhost '(?P<name>.*)' refused for user .*: connection limit (?:of )?\(?(?P<maximum>\d+)"),
        "raise it by rabbitmqctl set_vhost_limits -p {name} '{{\"max-connections\": N}}'",
    ),
    (
        re.compile(r"(?P<name>)node connection limit (?:of )?\(?(?P<maximum>\d+)"),
        "raise connection_max in rabbitmq.conf",
    ),
    (
        re.compile(r"queue limit in vhost '(?P<name>.*)' \(?(?P<maximum>\d+)"),
        "raise it by rabbitmqctl set_vhost_limits -p {name} '{{\"max-queues\": N}}', or delete queues",
    ),
    (
        re.compile(r"(?P<name>)queue limit in cluster \(?(?P<maximum>\d+)"),
        "raise cluster_queue_limit in rabbitmq.conf, or delete queues",
    ),
    (
        re.compile(r"(?P<name>)exchange limit (?:of )?\(?(?P<maximum>\d+)"),
        "raise cluster_exchange_limit in rabbitmq.conf, or delete exchanges",
    ),
)


def broker_limit(reply_text: str) -> BrokerLimit | None:
    """Return the limit because of which the broker has refused something; ``None``: it was another reason.

    Args:
        reply_text: the reason that the broker gave.
    """
    for pattern, remedy in _TEXTS:
        if found := pattern.search(reply_text):
            return BrokerLimit(int(found["maximum"]), remedy.format(name=shlex.quote(found["name"])))
    return None
