"""What the error answers of a Redis server mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rabibridge_core.errors import ConfigurationError, ConnectionLostError

if TYPE_CHECKING:
    from hiredis import ReplyError

    from rabibridge_core.settings import Endpoint

__all__ = ["ends_session", "is_blocked", "is_unknown_script", "log_in_error", "permission_error"]

_ENDS = ("READONLY", "LOADING", "MASTERDOWN", "CLUSTERDOWN", "NOREPLICAS", "UNBLOCKED", "NOAUTH", "TRYAGAIN", "MOVED",
         "ASK")  # fmt: skip
_TRY_AGAIN = ("BUSY", "ERR max number of clients")


def _code(error: ReplyError) -> str:
    return str(error).split(" ", 1)[0]


def is_unknown_script(error: ReplyError) -> bool:
    """Tell whether the server has forgotten the script: it was restarted, or another one has taken over."""
    return _code(error) == "NOSCRIPT"


def is_blocked(error: ReplyError) -> bool:
    """Tell whether the server accepts nothing new for now: its memory is full, or it cannot write to its disk."""
    return _code(error) in ("OOM", "MISCONF")


def ends_session(error: ReplyError) -> bool:
    """Tell whether another connection, perhaps to another server, is needed to go on."""
    return _code(error) in _ENDS


def permission_error(error: ReplyError, what: str) -> ConfigurationError:
    """Return the error for something that the user may not do, or that the server does not know."""
    advice = "let its user use the keys and channels that begin with rpc:"
    return ConfigurationError(f"Redis refuses {what}: {error}; {advice}")


def log_in_error(error: ReplyError, endpoint: Endpoint) -> ConfigurationError | ConnectionLostError:
    """Return the error for a log-in that was refused; ConnectionLostError if trying again may help."""
    text = str(error)
    if _code(error) in ("WRONGPASS", "NOAUTH"):
        return ConfigurationError(f"{endpoint} refuses the log-in: {text}")
    if text.startswith(_TRY_AGAIN) or ends_session(error) or is_blocked(error):
        return ConnectionLostError(f"{endpoint} refuses the connection: {text}", executed=False)
    if "unknown command" in text or _code(error) == "NOPROTO":
        return ConfigurationError(f"{endpoint} is too old: Redis 6.2 or Valkey is needed; it says {text!r}")
    return ConfigurationError(f"{endpoint} refuses the connection: {text}")
