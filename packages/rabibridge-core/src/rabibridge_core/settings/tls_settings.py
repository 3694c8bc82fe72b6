"""The settings of TLS, for transports whose connections can be encrypted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rabibridge_core.settings.fields import setting
from rabibridge_core.settings.parsers import parse_file, parse_secret, parse_word
from rabibridge_core.settings.transports import TransportSettings

if TYPE_CHECKING:
    from rabibridge_core.settings.endpoints import Secret

__all__ = ["TLS_GROUP", "TLSSettings"]

TLS_GROUP = "tls"
_FILE = "the name of a file"


@dataclass(frozen=True, slots=True, kw_only=True)
class TLSSettings(TransportSettings):
    """Base class of the settings of a transport that can use TLS. docs/configuration.md has a table of them.

    Raises:
        ConfigurationError: a value is outside its range.
    """

    tls_ca_file: str | None = setting(
        default=None,
        parse=parse_file,
        allowed=_FILE,
        in_url="cacertfile",
        group=TLS_GROUP,
        shown_default="those of the system",
        decides="which brokers are trusted",
        meaning="certificates of the authorities that may have issued the broker's certificate, in PEM; no others are "
        "trusted then. Query parameter `cacertfile`",
    )
    tls_cert_file: str | None = setting(
        default=None,
        parse=parse_file,
        allowed=_FILE,
        in_url="certfile",
        group=TLS_GROUP,
        decides="which other files are read",
        meaning="certificate of this client or server in PEM, with those of intermediate authorities behind it. Query "
        "parameter `certfile`",
    )
    tls_key_file: str | None = setting(
        default=None,
        parse=parse_file,
        allowed=_FILE,
        in_url="keyfile",
        group=TLS_GROUP,
        shown_default="in `tls_cert_file`",
        decides="which other files are read",
        meaning="private key of that certificate in PEM; a file that others may read is used with a warning. Query "
        "parameter `keyfile`",
    )
    tls_key_password: Secret | None = setting(  # noqa: RUF009 - this is field() with metadata
        default=None,
        parse=parse_secret,
        allowed="a text",
        secret=True,
        group=TLS_GROUP,
        meaning="password of the private key, if it is encrypted. See [secrets](#secrets)",
    )
    tls_server_name: str | None = setting(
        default=None,
        parse=parse_word,
        allowed="a host name or an address",
        in_url="server_name_indication",
        group=TLS_GROUP,
        shown_default="the host",
        decides="which brokers are trusted",
        meaning="host name that the broker's certificate must be for, where it is reached under another one. Query "
        "parameter `server_name_indication`",
    )
