"""The settings that only RabbitMQ has, and how its connections are configured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rabibridge_core.settings import (
    SettingRule,
    TransportDeclaration,
    boolean_setting,
    choice_setting,
    seconds_setting,
    setting,
)
from rabibridge_core.settings.tls_settings import TLS_GROUP, TLSSettings

if TYPE_CHECKING:
    from typing import Literal

    from rabibridge_core.errors import NoRouteError, QueueFullError
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
class RabbitMQSettings(TLSSettings):
    """The settings that only RabbitMQ has. docs/configuration.md has a table of them.

    Raises:
        ConfigurationError: a value is outside its range.
    """

    heartbeat: float = seconds_setting(
        1,
        65535,
        default=10.0,
        in_url=True,
        meaning="time between heartbeats; a connection that falls silent is detected "
        "[within three of them](guarantees.md#when-a-connection-is-lost). Also the query parameter `heartbeat` of a "
        "URL, which takes precedence",
    )
    direct_reply: bool = boolean_setting(
        default=False,
        meaning="a client receives its replies by RabbitMQ's direct reply-to instead of its own queue: its user then "
        "needs only the permission to write to the exchange `rpc`",
    )
    reply_queues: tuple[str, ...] = setting(
        default=(),
        parse=_parse_patterns,
        allowed="names of queues, separated by commas, with the wildcards * and ?",
        meaning="reply queues that callers name themselves and that a server may reply to, besides those in "
        "[the protocol](protocol.md#where-replies-arrive); a request that names any other queue is dead-lettered",
    )
    auth_mechanism: Literal["plain", "external"] = choice_setting(
        "plain",
        "external",
        default="plain",
        in_url=True,
        group=TLS_GROUP,
        meaning="how to log in: `plain` by user name and password, `external` by the client certificate alone. Query "
        "parameter `auth_mechanism`",
    )


def _virtualhost(value: str) -> str:
    if len(value.encode()) > _SHORT_STRING_MAX:
        raise ValueError
    return value


def _refusals() -> tuple[type[QueueFullError], type[NoRouteError]]:
    from rabibridge.errors import NoRouteError, QueueFullError  # with aiormq, which takes a while to import

    return QueueFullError, NoRouteError


RABBITMQ = TransportDeclaration(
    name="rabbitmq",
    schemes={"amqp": 5672, "amqps": 5671},
    tls_schemes={"amqp": "amqps"},
    required=("host", "port", "username", "password"),
    variable_prefix="RABBITMQ_",
    url_variables=("CLOUDAMQP_URL",),
    virtualhost=SettingRule(_virtualhost, "a text of at most 255 bytes in UTF-8"),
    settings=RabbitMQSettings,
    no_login_if={"auth_mechanism": "external"},
    fixed_parameters={"verify": "verify_peer"},
    refusals=_refusals,
)
"""How RabbitMQ is configured: by URL, ``RABBITMQ_*`` variables, or the file's table ``[rabbitmq]``."""


def rabbitmq_settings(settings: Settings) -> RabbitMQSettings:
    """Return the settings that only RabbitMQ has.

    Raises:
        ConfigurationError: ``settings`` are for another transport.
    """
    return settings.transport_as(RabbitMQSettings)
