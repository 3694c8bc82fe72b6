"""The settings of a client or server: explicit arguments first, then the environment, then a configuration file.

Nothing is read at import: :func:`load_settings` reads the environment and the file each time it is called.
"""

from __future__ import annotations

import logging
import math
import re
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar, cast, get_args

from rabibridge_core._codec.signing import MIN_KEY_SIZE
from rabibridge_core._reporting.error_frames import drop_frames
from rabibridge_core.errors import ConfigurationError, RabiBridgeError
from rabibridge_core.settings.connection import resolve_connection
from rabibridge_core.settings.endpoints import Endpoint, Secret
from rabibridge_core.settings.fields import (
    CheckedSettings,
    SettingRule,
    boolean_setting,
    integer_setting,
    parse_number,
    rules_of,
    seconds_setting,
    setting,
)
from rabibridge_core.settings.sources import Sources
from rabibridge_core.settings.transports import CONNECTION_FIELDS, TransportSettings, installed_transports
from rabibridge_core.transport import QueueType

if TYPE_CHECKING:
    import ssl as _ssl
    from collections.abc import Mapping, Sequence

    from rabibridge_core.settings.sources import SourcedValue
    from rabibridge_core.settings.transports import TransportCatalog

__all__ = ["Settings", "load_settings"]

_T = TypeVar("_T", bound=TransportSettings)

_KEY_ALLOWED = f"a text of at least {MIN_KEY_SIZE} bytes"


def _name(value: Any) -> str:
    name = str(value).strip().lower()
    if not isinstance(value, str) or not re.fullmatch(r"[a-z0-9_.-]{1,64}", name):
        raise ValueError
    return name


def _level(value: Any) -> str | None:
    if value is None:
        return None
    name = str(value).strip().upper()
    if logging.getLevelNamesMapping()[name] == logging.NOTSET:
        raise ValueError
    return name


def _limit(value: Any) -> float | None:
    if value is None or (isinstance(value, str) and value.strip().lower() == "none"):
        return None
    number = float(parse_number(value.total_seconds() if isinstance(value, timedelta) else value, float))
    if not (math.isfinite(number) and number > 0):
        raise ValueError
    return number


def _queue_type(value: Any) -> QueueType:
    name = _name(value)
    if name not in get_args(QueueType):
        raise ValueError
    return cast("QueueType", name)


def _key(value: Any) -> Secret | None:
    if value is None:
        return None
    key = value if isinstance(value, Secret) else Secret(value) if isinstance(value, str) else Secret("")
    if len(key.reveal().encode()) < MIN_KEY_SIZE:
        raise ValueError
    return key


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(CheckedSettings):
    """All settings of one client or server. Every value is checked, however the object is made.

    Attributes:
        endpoints: the brokers, in the order in which to try them; empty if the transport needs none.
        transport: the settings that the transport adds; :meth:`transport_as` returns them with their type.
        cid_max: without effect, accepted from settings of RabiBridge 0.1: correlation ids are random.
        compress_threshold: bodies longer than this many bytes are compressed.
        serializer: name of the serializer that encodes calls.
        log_level: level of the log that ``rabibridge run`` writes; ``None``: INFO. Clients and servers do not configure
            logging themselves.
        max_body: largest body to send or to accept, in bytes on the wire.
        max_decompressed: largest body to accept after decompression, in bytes.
        max_decoded: the memory in bytes that decoding one body of msgpack or json may take.
        any_map_keys: ``True`` makes msgpack accept map keys other than str and bytes, in both directions.
        connect_timeout: timeout in seconds for connecting to one broker, and again for logging in. The first
            ``connect()`` fails after this time, once every broker has been tried.
        drain_timeout: seconds that requests being processed have to finish when a server stops or closes.
        signing_key: key that signs bodies of pickle, cloudpickle and other serializers that can run code; bodies of
            other serializers are never signed. ``None``: no body is signed.
        trust_broker: ``True`` states that everybody who can publish to the broker may run code here: bodies of those
            serializers are accepted without a signature.
        max_pending: largest number of pending calls of one client; further calls wait for a slot, within their timeout.
        call_timeout: timeout in seconds of calls that are given none, so that every call ends; ``None``: no limit.
        queue_type: type of the queues of services that do not name one: ``classic`` or ``quorum``.

    Raises:
        ConfigurationError: a value is outside its range.
    """

    endpoints: tuple[Endpoint, ...] = ()
    transport: TransportSettings = field(default_factory=TransportSettings)
    cid_max: int = integer_setting(1024, 2**63 - 1, default=2**30, unit="ids")
    compress_threshold: int = integer_setting(0, 2**63 - 1, default=1024, unit="bytes")
    serializer: str = setting(
        default="msgpack",
        parse=_name,
        allowed="the name of a serializer, such as msgpack or json",
        aliases=["SERIALISER"],
    )
    log_level: str | None = setting(default=None, parse=_level, allowed="DEBUG, INFO, WARNING, ERROR or CRITICAL")
    max_body: int = integer_setting(1024, 512 * 2**20, default=8 * 2**20, unit="bytes")
    max_decompressed: int = integer_setting(1024, 2**34, default=64 * 2**20, unit="bytes")
    max_decoded: int = integer_setting(2**20, 2**40, default=256 * 2**20, unit="bytes")
    any_map_keys: bool = boolean_setting(default=False)
    connect_timeout: float = seconds_setting(0.01, 3600, default=10.0)
    drain_timeout: float = seconds_setting(0, 86400, default=30.0)
    signing_key: Secret | None = setting(default=None, parse=_key, allowed=_KEY_ALLOWED, secret=True)  # noqa: RUF009 - this is field() with metadata
    trust_broker: bool = boolean_setting(default=False)
    max_pending: int = integer_setting(1, 2**31 - 1, default=65_536, unit="calls")
    call_timeout: float | None = setting(default=3600.0, parse=_limit, allowed="more than 0 seconds, or none")
    queue_type: QueueType = setting(default="classic", parse=_queue_type, allowed="classic or quorum")  # noqa: RUF009 - this is field() with metadata

    def transport_as(self, kind: type[_T]) -> _T:
        """Return the settings that the transport adds.

        Args:
            kind: their class, which the transport's declaration names. If these settings are for no transport in
                particular, the result has the default of every setting.

        Raises:
            ConfigurationError: the settings are for another transport.
        """
        if isinstance(self.transport, kind):
            return self.transport
        if type(self.transport) is TransportSettings:
            return kind()
        raise ConfigurationError(
            f"these settings are for another transport: they hold {type(self.transport).__name__}, not "
            f"{kind.__name__}; load them with a URL of the transport, or with its name as transport_name="
        )


def load_settings(
    *,
    host: str | Sequence[str] | None = None,
    port: int | None = None,
    username: str | None = None,
    password: str | Secret | None = None,
    url: str | Sequence[str] | None = None,
    virtualhost: str | None = None,
    ssl: _ssl.SSLContext | bool | None = None,
    serializer: str | None = None,
    require_broker: bool = True,
    transport_name: str | None = None,
) -> Settings:
    """Collect the settings: arguments, then environment variables, then the configuration file, then defaults.

    Each setting is looked up by itself, with one exception: a URL stands for the whole connection, so that the
    variables and the table of a transport, such as ``RABBITMQ_HOST`` and ``[rabbitmq]``, are not mixed into it.
    docs/configuration.md has the table.

    Args:
        host: host name or address, or several as ``"a,b"`` or a list; each may carry its own ``:port``.
        port: TCP port of the hosts that carry none.
        username: user name.
        password: password.
        url: a URL, several separated by commas, or a list of URLs. It excludes ``host``, ``port``, ``username`` and
            ``password``; against a URL from the environment those four are allowed, and replace its parts.
        virtualhost: virtual host; the default is the transport's, such as ``/``.
        ssl: ``True`` for TLS with the default client context, or a context. URL schemes such as ``amqps://`` imply
            ``True``.
        serializer: name of the serializer.
        require_broker: ``False`` if no broker is needed (a transport was given): missing connection settings are then
            no error, and ``endpoints`` is empty.
        transport_name: the transport that connection settings other than URLs are for; ``None``: the only installed one
            that has such settings. The scheme of a URL takes precedence.

    Raises:
        ConfigurationError: a setting is missing, malformed, outside its range, or contradicts another. The text says
            where it came from, or in which places it can be given; it never holds a password.
    """
    arguments = {
        "host": host, "port": port, "username": username, "password": password, "url": url, "virtualhost": virtualhost,
        "ssl": ssl, "serializer": serializer,
    }  # fmt: skip
    try:
        return _load(arguments, require_broker, transport_name)
    except RabiBridgeError as error:
        drop_frames(error)
        raise
    finally:
        del host, username, password, url, arguments  # an error carries this frame, whose variables may be reported


def _load(arguments: Mapping[str, Any], require_broker: bool, transport_name: str | None) -> Settings:
    transports = installed_transports()
    known = _known_keys(transports)
    sources = Sources(arguments, [table for table in known if table != "secret"])
    connection = resolve_connection(sources, transports, transport_name)
    if connection.problem and require_broker:
        raise ConfigurationError(connection.problem)

    given = {"serializer": found} if (found := sources.argument("serializer")) else {}
    if sources.variable("RABIBRIDGE_TRUST_BROKER") is None:
        sources.refuse_unnamed("app", ["TRUST_BROKER"])
    values = _values(rules_of(Settings), sources, given)
    own = connection.transport.settings if connection.transport else TransportSettings
    transport = own(**_values(rules_of(own), sources, connection.parameters))
    sources.warn_of_unknown_keys(known)
    return Settings(endpoints=connection.endpoints, transport=transport, **values)


def _values(rules: Mapping[str, SettingRule], sources: Sources, given: Mapping[str, SourcedValue]) -> dict[str, Any]:
    """Return the settings that are set somewhere; what is in ``given`` takes precedence over variables and the file."""
    values = {}
    for name, rule in rules.items():
        keys = _keys(name, rule)
        found = given.get(name) or sources.find([f"RABIBRIDGE_{key}" for key in keys], "app", keys)
        if found:
            values[name] = rule.check(name, found.value, found.source)
    return values


def _keys(name: str, rule: SettingRule) -> list[str]:
    return [name.upper(), *rule.aliases]


def _known_keys(transports: TransportCatalog) -> dict[str, set[str]]:
    """Return the keys that the configuration file may have, by table: those of all transports, since they may share it.

    ``DEBUG_MODE`` and ``[secret]`` are what RabiBridge 0.1.2 had.
    """
    kinds: list[type[CheckedSettings]] = [Settings, *(transport.settings for transport in transports)]
    app = {key for kind in kinds for name, rule in rules_of(kind).items() for key in _keys(name, rule)}
    tables = {
        transport.name: {transport.variable(name) for name in CONNECTION_FIELDS}
        for transport in transports
        if transport.variable_prefix
    }
    return {**tables, "app": app | {"DEBUG_MODE"}, "secret": {"SECRET"}}
