"""Loads the settings: options and arguments first, then the environment, then the configuration file, then defaults.

Nothing is read at import: :func:`load_settings` reads the environment and the file each time it is called.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rabibridge_core._reporting.error_frames import drop_frames
from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger
from rabibridge_core.errors import ConfigurationError, RabiBridgeError
from rabibridge_core.settings.connection import ConnectionSettings, resolve_connection
from rabibridge_core.settings.faults import Faults
from rabibridge_core.settings.fields import CheckedSettings, keys_of, rules_of
from rabibridge_core.settings.nearest import suggestion
from rabibridge_core.settings.secret_reading import readable
from rabibridge_core.settings.settings import Settings
from rabibridge_core.settings.sources import FILE_SUFFIX, Sources
from rabibridge_core.settings.transports import CONNECTION_FIELDS, TransportSettings, installed_transports
from rabibridge_core.settings.unknown_names import VARIABLES, unknown_keys, unknown_tables, unknown_variables

if TYPE_CHECKING:
    import ssl as _ssl
    from collections.abc import Mapping, Sequence

    from rabibridge_core.settings.endpoints import Secret
    from rabibridge_core.settings.origins import SourcedValue
    from rabibridge_core.settings.transports import TransportCatalog

__all__ = ["Collected", "collect", "known_keys", "load_settings", "refuse_in_found_file"]

_log = get_logger(__name__)
_ARGUMENTS = {*CONNECTION_FIELDS, "url", "profile"}
"""The arguments of :func:`load_settings` that are no settings by themselves."""


@dataclass(slots=True)
class Collected:
    """What was found for one client or server.

    Attributes:
        sources: where it was looked for.
        connection: the brokers.
        own: class of the settings that the transport adds.
        given: the settings that are set somewhere, by name, as they were given.
        values: the same, as they are used.
        faults: what is wrong.
        warnings: what is ignored.
    """

    sources: Sources
    connection: ConnectionSettings = field(default_factory=lambda: ConnectionSettings(None))
    own: type[TransportSettings] = TransportSettings
    given: dict[str, SourcedValue] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)
    faults: Faults = field(default_factory=Faults)
    warnings: list[str] = field(default_factory=list)

    def settings(self) -> Settings:
        """Return the settings.

        Raises:
            ConfigurationError: there are faults; it tells all of them.
        """
        self.faults.raise_if_any()
        of_transport = rules_of(self.own)
        transport = self.own(**{name: value for name, value in self.values.items() if name in of_transport})
        return Settings(
            endpoints=self.connection.endpoints,
            transport=transport,
            **{name: value for name, value in self.values.items() if name not in of_transport},
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
    namespace: str | None = None,
    require_broker: bool = True,
    transport_name: str | None = None,
    profile: str | None = None,
    arguments: Mapping[str, object] | None = None,
    options: Mapping[str, object] | None = None,
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
        namespace: name of the namespace; empty: none.
        require_broker: ``False`` if no broker is needed (a transport was given): missing connection settings are then
            no error, and ``endpoints`` is empty.
        transport_name: the transport that connection settings other than URLs are for; ``None``: the only installed one
            that has such settings. The scheme of a URL takes precedence.
        profile: the profile of the configuration file whose tables take precedence over the others of the file;
            ``None``: the one that ``RABIBRIDGE_PROFILE`` names, if any.
        arguments: further settings by name that the caller has arguments of its own for, such as ``{"tls_ca_file":
            "ca.pem"}``. They take precedence as the arguments above do. Values that are ``None`` count as not given.
        options: further settings by name, such as ``{"drain_timeout": 10}``, with precedence over all other places:
            what the user of a command gave on its command line. Values that are ``None`` count as not given. Errors
            call them "the option --drain-timeout".

    Raises:
        ConfigurationError: a setting is missing, malformed, outside its range, or contradicts another, or the file has
            a key that does not exist. The text tells all faults, and for each where it came from, or in which places it
            can be given; it never holds a password.
    """
    given = {
        **(arguments or {}),
        "host": host, "port": port, "username": username, "password": password, "url": url, "virtualhost": virtualhost,
        "ssl": ssl, "serializer": serializer, "namespace": namespace, "profile": profile,
    }  # fmt: skip
    try:
        found = collect(given, require_broker=require_broker, transport_name=transport_name, options=options)
        settings = found.settings()
        for warning in found.warnings:
            _log.warning("%s", warning, extra=log_fields("settings.warning"))
        return settings
    except RabiBridgeError as error:
        drop_frames(error)
        raise
    finally:
        # An error carries this frame, whose variables may be reported.
        del host, username, password, url, arguments, given


def collect(
    arguments: Mapping[str, object],
    *,
    require_broker: bool = True,
    transport_name: str | None = None,
    options: Mapping[str, object] | None = None,
    sources: Sources | None = None,
) -> Collected:
    """Look up every setting and note what is wrong.

    Args:
        arguments: arguments of :func:`load_settings` by name.
        require_broker: as for :func:`load_settings`.
        transport_name: as for :func:`load_settings`.
        options: as for :func:`load_settings`.
        sources: where to look instead, for the check of a file.

    Raises:
        ConfigurationError: nothing can be looked up, because the file cannot be read or has not the profile.
    """
    transports = installed_transports()
    known = known_keys(transports)
    found = Collected(sources or Sources(arguments, known, options=options))
    for layer in found.sources.layers:
        errors, warnings = unknown_tables(layer, known, found.sources.file)
        for fault in [*errors, *unknown_keys(layer, known)]:
            found.faults.add(fault)
        found.warnings += warnings
    _look_up(found, transports, transport_name, require_broker)
    _refuse_unknown_options(found, options or {})
    _refuse_arguments_of_others(found)
    found.warnings += found.sources.warnings
    if stray := unknown_variables(found.sources.environ, known["app"]):
        found.warnings.append(f"Unknown environment variables are ignored: {', '.join(stray)}")
    return found


def _look_up(found: Collected, transports: TransportCatalog, transport_name: str | None, require_broker: bool) -> None:
    sources = found.sources
    with found.faults.noted():
        found.connection = resolve_connection(sources, transports, transport_name)
        if found.connection.problem and require_broker:
            raise ConfigurationError(found.connection.problem)
    refuse_in_found_file(sources, transports, found.faults)
    if found.connection.transport:
        found.own = found.connection.transport.settings
    for name, rule in (rules_of(Settings) | rules_of(found.own)).items():
        with found.faults.noted():
            value = found.sources.setting(name, rule, found.connection.parameters)
            if value is not None:
                if rule.secret:
                    value = readable(value, found.sources)
                found.given[name] = value
                found.values[name] = rule.check(name, value.value, value.source)


def _refuse_unknown_options(found: Collected, options: Mapping[str, object]) -> None:
    right = rules_of(Settings) | rules_of(found.own)
    for name in options:
        if name not in right:
            found.faults.add(f"there is no setting {name!r}: {suggestion(name, right, 'the settings are')}")


def _refuse_arguments_of_others(found: Collected) -> None:
    right = rules_of(Settings) | rules_of(found.own)
    for name in found.sources.arguments:
        if name not in right and name not in _ARGUMENTS:
            of = f"the transport {found.connection.transport.name!r}" if found.connection.transport else "any transport"
            found.faults.add(f"the argument {name}= is no setting of {of}: leave it out")


def refuse_in_found_file(sources: Sources, transports: TransportCatalog, faults: Faults) -> None:
    """Note the keys of the file that only a file that was named may have."""
    for table, key, variable, decision in _keys_of_named_files(transports):
        with faults.noted():
            sources.refuse_unnamed(table, key, variable, decision)


def _keys_of_named_files(transports: TransportCatalog) -> list[tuple[str, str, str, str]]:
    """Return what a file that lies in the current folder by chance must not decide.

    The command may run in a folder whose content others have written. With the name of a file as a secret, that content
    could send any file of the user to any host.
    """
    kinds: list[type[CheckedSettings]] = [Settings, *(transport.settings for transport in transports)]
    rules = [(rule, keys_of(name, rule)) for kind in kinds for name, rule in rules_of(kind).items()]
    decisive = [("app", key, f"{VARIABLES}{key}", rule.decides) for rule, keys in rules for key in keys if rule.decides]
    secrets = [
        ("app", f"{key}{FILE_SUFFIX}", f"{VARIABLES}{key}{FILE_SUFFIX}")
        for rule, keys in rules
        for key in keys
        if rule.secret
    ]
    for transport in transports:
        if transport.variable_prefix:
            key = transport.variable(f"password{FILE_SUFFIX}")
            secrets.append((transport.name, key, key))
    return [*decisive, *((*secret, "which other files are read") for secret in secrets)]


def known_keys(transports: TransportCatalog) -> dict[str, set[str]]:
    """Return the keys that the configuration file may have, by table: those of all transports, since they may share it.

    ``DEBUG_MODE`` and ``[secret]`` are what RabiBridge 0.1.2 had.
    """
    kinds: list[type[CheckedSettings]] = [Settings, *(transport.settings for transport in transports)]
    app = {"DEBUG_MODE"}
    for kind in kinds:
        for name, rule in rules_of(kind).items():
            keys = keys_of(name, rule)
            app.update(keys, [f"{key}{FILE_SUFFIX}" for key in keys] if rule.secret else [])
    tables = {
        transport.name: {transport.variable(name) for name in (*CONNECTION_FIELDS, f"password{FILE_SUFFIX}")}
        for transport in transports
        if transport.variable_prefix
    }
    return {**tables, "app": app, "secret": {"SECRET"}}
