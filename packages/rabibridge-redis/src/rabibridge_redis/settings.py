"""The settings that only Redis has, and how its connections are configured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rabibridge_core.settings import SettingRule, TransportDeclaration, integer_setting, seconds_setting, setting
from rabibridge_core.settings.parsers import parse_secret, parse_word
from rabibridge_core.settings.tls_settings import TLSSettings

if TYPE_CHECKING:
    from rabibridge_core.settings import Secret, Settings

__all__ = ["REDIS", "RedisSettings", "redis_settings"]

_DATABASES = 1 << 16


def _service(value: Any) -> str:
    if (word := parse_word(value)) is None:
        raise ValueError
    return word


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisSettings(TLSSettings):
    """The settings that only Redis has. docs/configuration.md has a table of them.

    Raises:
        ConfigurationError: a value is outside its range.
    """

    lease: float = seconds_setting(
        3,
        3600,
        default=30.0,
        in_url=True,
        meaning="how long a worker or a caller that has fallen silent, but is still connected, counts as alive. One "
        "whose process has died or whose connection is closed is noticed within a second",
    )
    max_message_size: int = integer_setting(
        1024,
        512 * 1024 * 1024,
        default=64 * 1024 * 1024,
        unit="bytes",
        in_url=True,
        meaning="largest body that is sent; Redis itself accepts 512 MiB (its `proto-max-bulk-len`)",
    )
    dead_letter_bytes: int = integer_setting(
        0,
        1 << 40,
        default=64 * 1024 * 1024,
        unit="bytes",
        meaning="how much is kept of the calls that no worker could process; the oldest are dropped first",
    )
    sentinel_service: str = setting(
        default="mymaster",
        parse=_service,
        allowed="a text without blanks",
        in_url=True,
        meaning="name under which the Sentinels know the server, for URLs that begin with `redis+sentinel://`",
    )
    sentinel_username: str | None = setting(
        default=None,
        parse=parse_word,
        allowed="a text without blanks",
        meaning="user name for the Sentinels; that of the URL is for the server",
    )
    sentinel_password: Secret | None = setting(  # noqa: RUF009 - this is field() with metadata
        default=None,
        parse=parse_secret,
        allowed="a text",
        secret=True,
        meaning="password for the Sentinels; that of the URL is for the server. See [secrets](#secrets)",
    )


def _database(value: str) -> str:
    if not 0 <= int(value) < _DATABASES:
        raise ValueError
    return str(int(value))


REDIS = TransportDeclaration(
    name="redis",
    schemes={"redis": 6379, "rediss": 6379, "redis+sentinel": 26379, "rediss+sentinel": 26379},
    tls_schemes={"redis": "rediss", "redis+sentinel": "rediss+sentinel"},
    required=("host",),
    virtualhost=SettingRule(_database, "the number of a database"),
    default_virtualhost="0",
    settings=RedisSettings,
    fixed_parameters={"verify": "verify_peer"},
)
"""How Redis is configured: by URL. Kubernetes sets REDIS_PORT and the like where a service is called redis."""


def redis_settings(settings: Settings) -> RedisSettings:
    """Return the settings that only Redis has.

    Raises:
        ConfigurationError: ``settings`` are for another transport.
    """
    return settings.transport_as(RedisSettings)
