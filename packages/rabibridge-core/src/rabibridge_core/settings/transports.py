"""What a transport tells the settings: its URL schemes, its variables, and settings of its own.

Core knows no broker. A transport declares itself through the hook ``rabibridge_transport_settings``. This module lies
below the plug-ins, so it does not look for declarations: the plug-in manager installs a provider here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rabibridge_core.errors import NoRouteError, PluginError, QueueFullError
from rabibridge_core.settings.fields import CheckedSettings, SettingRule, rules_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = [
    "CONNECTION_FIELDS",
    "TransportCatalog",
    "TransportDeclaration",
    "TransportSettings",
    "installed_transports",
    "provide_transports",
]

CONNECTION_FIELDS = {
    "host": "host name or address; several as `a,b`, or as a list in an argument or in the file",
    "port": "TCP port of the hosts that do not specify one",
    "username": "user name",
    "password": "password; see [secrets](#secrets)",
    "virtualhost": "virtual host",
    "ssl": "`true` for TLS with the system's certificates and host name verification; as an argument also an "
    "`ssl.SSLContext`",
}
"""The settings of a connection that is configured without a URL, each by itself, and what each one means."""

_RESERVED_TABLES = ("app", "secret")


@dataclass(frozen=True, slots=True, kw_only=True)
class TransportSettings(CheckedSettings):
    """Base class of the settings that a transport adds; this class itself has none.

    A subclass is a dataclass with ``frozen=True, slots=True, kw_only=True`` whose fields come from
    :func:`~rabibridge_core.settings.setting`, ``integer_setting``, ``seconds_setting`` and ``boolean_setting``. A field
    ``pool_size`` is read from the variable ``RABIBRIDGE_POOL_SIZE`` and from ``POOL_SIZE`` under ``[app]`` in the
    configuration file; with ``in_url=True`` also from the query parameter ``pool_size`` of a URL, which takes
    precedence.
    """


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TransportDeclaration:
    """How a transport is configured.

    Attributes:
        name: short name in lower case, such as ``redis``. It is also the table of the configuration file that holds the
            fields of the connection.
        schemes: URL schemes and the default port of each; the first is used where no URL is given. Port 0: the scheme
            has no ports, so there is no host to log in to, and no TLS.
        tls_schemes: the scheme with TLS for each scheme that has one: ``{"redis": "rediss"}``.
        required: which of ``host``, ``port``, ``username`` and ``password`` must be given. A URL needs the same ones,
            except for the port, which has a default there.
        variable_prefix: prefix of the variables and file keys that configure the fields of a connection one by one:
            ``REDIS_`` for ``REDIS_HOST``, ``REDIS_PORT`` and so on. Empty: the transport is configured by URL only.
        url_variables: further environment variables that hold a URL. They are read last, if no host is configured.
        virtualhost: what the path of a URL may hold.
        default_virtualhost: the value for a URL without a path.
        settings: class of the settings that the transport adds.
        no_login_if: settings of the transport, and the value of each with which neither a user name nor a password is
            required: ``{"auth_mechanism": "external"}``.
        fixed_parameters: query parameters that a URL may have although they change nothing, and the one value that each
            may have: ``{"verify": "verify_peer"}``.
        refusals: returns the classes of the errors for calls that it refuses, which brokers in memory raise in its
            place.

    Raises:
        PluginError: the declaration contradicts itself.
    """

    name: str
    schemes: Mapping[str, int]
    tls_schemes: Mapping[str, str] = field(default_factory=dict)
    required: tuple[str, ...] = ("host",)
    variable_prefix: str = ""
    url_variables: tuple[str, ...] = ()
    virtualhost: SettingRule = SettingRule(str, "any text")  # noqa: RUF009 - it is immutable
    default_virtualhost: str = "/"
    settings: type[TransportSettings] = TransportSettings
    no_login_if: Mapping[str, str] = field(default_factory=dict)
    fixed_parameters: Mapping[str, str] = field(default_factory=dict)
    refusals: Callable[[], tuple[type[QueueFullError], type[NoRouteError]]] = lambda: (QueueFullError, NoRouteError)

    def __post_init__(self) -> None:
        """Check the declaration."""
        problem = _problem_of(self)
        if problem:
            raise PluginError(f"the declaration of the transport {self.name!r} is wrong: {problem}")

    @property
    def default_scheme(self) -> str:
        """The scheme of a connection that is configured without a URL."""
        return next(iter(self.schemes))

    @property
    def is_networked(self) -> bool:
        """Whether there is a host to connect to; otherwise, URLs only hold a name."""
        return any(self.schemes.values())

    @property
    def url_parameters(self) -> dict[str, str]:
        """The query parameters that a URL may have, and the setting that each of them is."""
        rules = {name: rule.in_url for name, rule in rules_of(self.settings).items() if rule.in_url}
        return {name if known_as is True else str(known_as): name for name, known_as in rules.items()}

    @property
    def example_url(self) -> str:
        """A URL for error messages, with all the parts that this transport requires."""
        login = "user:password@" if "username" in self.required else ":password@" if "password" in self.required else ""
        path = "virtualhost" if self.default_virtualhost == "/" else self.default_virtualhost
        return f"{self.default_scheme}://{login}host:{self.schemes[self.default_scheme]}/{path}"

    def variable(self, name: str) -> str:
        """Return the name that a field of the connection has as a variable and in the configuration file."""
        return f"{self.variable_prefix}{name.upper()}"

    def is_tls(self, scheme: str) -> bool:
        """Tell whether a URL scheme stands for TLS."""
        return scheme in self.tls_schemes.values()

    def without_tls(self, scheme: str) -> str:
        """Return the scheme without TLS that belongs to one with TLS, or an empty text."""
        return next((plain for plain, secured in self.tls_schemes.items() if secured == scheme), "")


def _problem_of(declaration: TransportDeclaration) -> str:
    if not re.fullmatch("[a-z][a-z0-9_-]*", declaration.name) or declaration.name in _RESERVED_TABLES:
        return f"a name is lower case, and none of {', '.join(_RESERVED_TABLES)}"
    if not declaration.schemes:
        return "it has no URL scheme"
    for scheme, port in declaration.schemes.items():
        if not re.fullmatch("[a-z][a-z0-9+.-]*", scheme) or not 0 <= port <= 65535:
            return f"{scheme!r} with port {port} is not a lower-case URL scheme with a port from 0 to 65535"
    prefix = declaration.variable_prefix
    if prefix and (not re.fullmatch("[A-Z][A-Z0-9_]*_", prefix) or prefix == "RABIBRIDGE_"):
        return f"variable_prefix is {prefix!r}; allowed: upper case with _ at the end, other than RABIBRIDGE_"
    unknown = {*declaration.tls_schemes, *declaration.tls_schemes.values()} - {*declaration.schemes}
    if unknown:
        return f"tls_schemes has {', '.join(sorted(unknown))}, which schemes lacks"
    odd = {*declaration.required} - {"host", "port", "username", "password"}
    if odd:
        return f"required has {', '.join(sorted(odd))}; allowed: host, port, username, password"
    clash = rules_of(declaration.settings).keys() & {*CONNECTION_FIELDS, "url"}
    if clash:
        return f"its settings use the names {', '.join(sorted(clash))}, which belong to the connection"
    return ""


class TransportCatalog:
    """The transports that settings can be made for, in the order of their declaration."""

    def __init__(self) -> None:
        """Start with none."""
        self._declarations: list[TransportDeclaration] = []

    def __iter__(self) -> Iterator[TransportDeclaration]:
        """Iterate over the declarations."""
        return iter(self._declarations)

    @property
    def schemes(self) -> list[str]:
        """The URL schemes of all transports."""
        return [scheme for declaration in self for scheme in declaration.schemes]

    def add(self, declaration: TransportDeclaration) -> None:
        """Add a declaration. Adding the same object again does nothing.

        Raises:
            PluginError: its name, a scheme or its prefix for variables belongs to another transport.
        """
        for known in self:
            if known is declaration:
                return
            shared = [scheme for scheme in declaration.schemes if scheme in known.schemes]
            if known.name == declaration.name:
                shared.append(f"the name {known.name}")
            if declaration.variable_prefix and known.variable_prefix == declaration.variable_prefix:
                shared.append(f"the prefix {known.variable_prefix}")
            if shared:
                raise PluginError(
                    f"the transport {declaration.name!r} declares {', '.join(shared)}, as does {known.name!r}, which "
                    "was declared earlier: give it names of its own, or block one of the two plug-ins"
                )
        self._declarations.append(declaration)

    def for_scheme(self, scheme: str) -> TransportDeclaration:
        """Return the transport of a URL scheme.

        A scheme that nobody has declared gets a bare declaration: a transport without settings of its own need not
        declare any, and an unknown scheme is an error only when a transport is made for it.
        """
        found = next((one for one in self if scheme in one.schemes), None)
        return found or TransportDeclaration(name="undeclared", schemes={scheme: 0}, required=())

    def for_fields(self, name: str | None) -> TransportDeclaration | None:
        """Return the transport that connection settings other than URLs are for.

        Args:
            name: name of the transport; ``None``: the only one that can be configured without a URL.

        Returns:
            The declaration; ``None`` if there is no such transport, or if ``name`` is ``None`` and there are several.
        """
        if name is not None:
            return next((one for one in self if one.name == name), None)
        candidates = [one for one in self if one.variable_prefix]
        return candidates[0] if len(candidates) == 1 else None


_provider: Callable[[], TransportCatalog] = TransportCatalog


def provide_transports(provider: Callable[[], TransportCatalog]) -> None:
    """Let ``provider`` say which transports are installed, each time that settings are loaded."""
    global _provider
    _provider = provider


def installed_transports() -> TransportCatalog:
    """Return the declarations of the installed transports."""
    return _provider()
