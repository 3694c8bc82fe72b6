"""The settings of a client or server: explicit arguments first, then the environment, then a configuration file.

Nothing is read at import: :func:`load_settings` reads the environment and the file each time it is called.
"""

from __future__ import annotations

import logging
import math
import re
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, cast, get_args

from rabibridge_core._codec.signing import MIN_KEY_SIZE
from rabibridge_core.errors import ConfigurationError
from rabibridge_core.settings.connection import CONNECTION, resolve_endpoints
from rabibridge_core.settings.endpoints import Endpoint, Secret
from rabibridge_core.settings.sources import Sources, switch
from rabibridge_core.transport import QueueType

if TYPE_CHECKING:
    import ssl as _ssl
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["Endpoint", "Secret", "Settings", "load_settings"]

_KEY_ALLOWED = f"a text of at least {MIN_KEY_SIZE} bytes"


def _setting(default: Any, parse: Callable[[Any], Any], allowed: str, *aliases: str) -> Any:
    """Describe a field: ``parse`` returns the value or raises ValueError, TypeError or KeyError."""
    return field(default=default, metadata={"parse": parse, "allowed": allowed, "aliases": aliases})


def _whole(low: int, high: int, default: int, unit: str) -> Any:
    def parse(value: Any) -> int:
        number: int = _number(value, int)
        if not low <= number <= high:
            raise ValueError
        return number

    return _setting(default, parse, f"a whole number from {low} to {high} ({unit})")


def _seconds(low: float, high: float, default: float) -> Any:
    def parse(value: Any) -> float:
        number = float(_number(value, float))
        if not (math.isfinite(number) and low <= number <= high):
            raise ValueError
        return number

    return _setting(default, parse, f"{low} to {high} seconds")


def _number(value: Any, kind: type) -> Any:
    if isinstance(value, str):
        return kind(value)
    if isinstance(value, bool) or not isinstance(value, (int, kind)):
        raise TypeError
    return value


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
    if value is None or (isinstance(value, str) and value.strip().lower() in ("", "none")):
        return None
    number = float(_number(value, float))
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
class Settings:
    """All settings of one client or server. Every value is checked, in whatever way the object is made.

    Attributes:
        endpoints: the brokers, in the order in which to try them; empty where the transport needs none.
        cid_max: correlation ids count up to this number, then start again.
        compress_threshold: bodies longer than this many bytes are compressed.
        serializer: name of the serializer that encodes calls.
        log_level: level of the log that ``rabibridge run`` writes; ``None``: INFO. Clients and servers leave logging to
            the program that they are in.
        max_body: largest body to send or to accept, in bytes on the wire.
        max_decompressed: largest body to accept after decompression, in bytes.
        heartbeat: seconds between AMQP heartbeats.
        connect_timeout: seconds to reach one broker, and as many to log in there; a first connection that could not be
            made in this time is given up, once every broker was tried.
        drain_timeout: seconds that calls in hand get to finish when a server stops or closes.
        signing_key: key that signs bodies of pickle, cloudpickle and other serializers that can run code; bodies of
            other serializers are never signed. ``None``: none are.
        trust_broker: ``True`` says that whoever can publish to the broker may run code here: it allows bodies of those
            serializers without a signature.
        direct_reply: ``True`` makes a client take its replies by RabbitMQ's direct reply-to instead of a queue of its
            own; it then needs no permission but to write to the exchange ``rpc``.
        max_pending: most calls that one client has under way; more wait for room, within their timeout.
        call_timeout: seconds for a call that is given no timeout, so that every call ends; ``None``: no limit.
        queue_type: the type of the queues of services that do not name theirs: ``classic`` or ``quorum``.

    Raises:
        ConfigurationError: a value is outside its range.
    """

    endpoints: tuple[Endpoint, ...] = ()
    cid_max: int = _whole(1024, 2**63 - 1, 2**30, "ids")
    compress_threshold: int = _whole(0, 2**63 - 1, 1024, "bytes")
    serializer: str = _setting("msgpack", _name, "the name of a serializer, such as msgpack or json", "SERIALISER")
    log_level: str | None = _setting(None, _level, "DEBUG, INFO, WARNING, ERROR or CRITICAL")
    max_body: int = _whole(1024, 512 * 2**20, 8 * 2**20, "bytes")
    max_decompressed: int = _whole(1024, 2**34, 64 * 2**20, "bytes")
    heartbeat: float = _seconds(1, 65535, 10.0)
    connect_timeout: float = _seconds(0.01, 3600, 10.0)
    drain_timeout: float = _seconds(0, 86400, 30.0)
    signing_key: Secret | None = _setting(None, _key, _KEY_ALLOWED)  # noqa: RUF009 - this is field() with metadata
    trust_broker: bool = _setting(False, switch, "true or false")
    direct_reply: bool = _setting(False, switch, "true or false")
    max_pending: int = _whole(1, 2**31 - 1, 65_536, "calls")
    call_timeout: float | None = _setting(3600.0, _limit, "more than 0 seconds, or none")
    queue_type: QueueType = _setting("classic", _queue_type, "classic or quorum")  # noqa: RUF009 - field() with metadata

    def __post_init__(self) -> None:
        """Check and convert every value."""
        for item in fields(self):
            if item.metadata:
                value = _checked(item.name, item.metadata, getattr(self, item.name), f"the argument {item.name}=")
                object.__setattr__(self, item.name, value)


def _checked(name: str, spec: Mapping[str, Any], value: object, source: str) -> Any:
    try:
        return spec["parse"](value)
    except (ValueError, TypeError, KeyError, OverflowError):
        pass
    shown = "not valid" if name == "signing_key" else f"{value!r}"
    raise ConfigurationError(f"{name} is {shown} (from {source}); allowed: {spec['allowed']}")


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
) -> Settings:
    """Collect the settings: arguments, then environment variables, then the configuration file, then defaults.

    Each setting is looked up by itself, with one exception: a URL stands for the whole connection, so that
    ``RABBITMQ_*`` variables and the file's ``[rabbitmq]`` table are not mixed into it. docs/configuration.md has the
    table.

    Args:
        host: host name or address, or several as ``"a,b"`` or a list; each may carry its own ``:port``.
        port: TCP port of the hosts that carry none.
        username: user name.
        password: password.
        url: a URL, several separated by commas, or a list of URLs. It excludes ``host``, ``port``, ``username`` and
            ``password``; against a URL from the environment those four are allowed, and replace its parts.
        virtualhost: virtual host; the default is ``/``.
        ssl: ``True`` for TLS with the default client context, or a context. ``amqps://`` implies ``True``.
        serializer: name of the serializer.
        require_broker: ``False`` where no broker is needed (a transport was given): missing connection settings are
            then no error, and ``endpoints`` is empty.

    Raises:
        ConfigurationError: a setting is missing, malformed, outside its range, or contradicts another. The text says
            where it came from, or in which places it can be given; it never holds a password.
    """
    broker = {"host": host, "port": port, "username": username, "password": password, "url": url}
    sources = Sources({**broker, "virtualhost": virtualhost, "ssl": ssl, "serializer": serializer})
    brokers = resolve_endpoints(sources)
    if brokers.problem and require_broker:
        raise ConfigurationError(brokers.problem)

    values: dict[str, Any] = {}
    known = {
        "rabbitmq": {f"RABBITMQ_{name.upper()}" for name in CONNECTION},
        "app": {"DEBUG_MODE"},
        "secret": {"SECRET"},
    }
    for item in fields(Settings):
        if item.metadata:
            names = [item.name.upper(), *item.metadata["aliases"]]
            known["app"].update(names)
            found = sources.find(item.name, [f"RABIBRIDGE_{name}" for name in names], "app", names)
            if item.name == "heartbeat" and brokers.heartbeat:
                found = brokers.heartbeat
            if found:
                values[item.name] = _checked(item.name, item.metadata, found.value, found.source)
    sources.warn_of_unknown_keys(known)
    return Settings(endpoints=brokers.endpoints, **values)
