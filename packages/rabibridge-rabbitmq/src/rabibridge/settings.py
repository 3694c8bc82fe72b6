"""The settings that only RabbitMQ has, and how its connections are configured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rabibridge_core.settings import (
    SettingRule,
    TransportDeclaration,
    TransportSettings,
    boolean_setting,
    seconds_setting,
    setting,
)

if TYPE_CHECKING:
    from rabibridge_core.settings import Settings

__all__ = ["RABBITMQ", "RabbitMQSettings", "rabbitmq_settings"]


_SHORT_STRING_MAX = 255
"""AMQP sends the name of the virtual host as a short string."""


def _parse_patterns(value: Any) -> tuple[str, ...]:
    patterns = tuple(value.split(",") if isinstance(value, str) else value)
    if not all(isinstance(pattern, str) for pattern in patterns):
        raise TypeError
    return tuple(filter(None, (pattern.strip() for pattern in patterns)))


@dataclass(frozen=True, slots=True, kw_only=True)
class RabbitMQSettings(TransportSettings):
    """The settings that only RabbitMQ has.

    Attributes:
        heartbeat: seconds between AMQP heartbeats. A URL may give it as a query parameter.
        direct_reply: ``True`` makes a client receive its replies through RabbitMQ's direct reply-to instead of a queue
            of its own; it then needs no permission except to write to the exchange ``rpc``.
        reply_queues: names of reply queues that callers declare themselves, separated by commas; ``*`` and ``?`` are
            wildcards. A server replies only to these, to queues that the broker names (``amq.gen-...``), to those of
            aio-pika's robust connections (``amq_`` and 32 hexadecimal digits), and to direct reply-to addresses.

    Raises:
        ConfigurationError: a value is outside its range.
    """

    heartbeat: float = seconds_setting(1, 65535, default=10.0, in_url=True)
    direct_reply: bool = boolean_setting(default=False)
    reply_queues: tuple[str, ...] = setting(
        default=(), parse=_parse_patterns, allowed="names of queues, separated by commas, with the wildcards * and ?"
    )


def _virtualhost(value: str) -> str:
    if len(value.encode()) > _SHORT_STRING_MAX:
        raise ValueError
    return value


RABBITMQ = TransportDeclaration(
    name="rabbitmq",
    schemes={"amqp": 5672, "amqps": 5671},
    tls_schemes={"amqp": "amqps"},
    required=("host", "port", "username", "password"),
    variable_prefix="RABBITMQ_",
    url_variables=("CLOUDAMQP_URL",),
    virtualhost=SettingRule(_virtualhost, "a text of at most 255 bytes in UTF-8"),
    settings=RabbitMQSettings,
)
"""How RabbitMQ is configured: by URL, ``RABBITMQ_*`` variables, or the file's table ``[rabbitmq]``."""


def rabbitmq_settings(settings: Settings) -> RabbitMQSettings:
    """Return the settings that only RabbitMQ has.

    Raises:
        ConfigurationError: ``settings`` are for another transport.
    """
    return settings.transport_as(RabbitMQSettings)
