"""Names that become attributes of metrics: not too many of them, whatever callers and functions make up."""

from __future__ import annotations

from typing import Final

from rabibridge_core.errors import NoRouteError, RabiBridgeError, ServiceError

__all__ = ["MAX_METHODS", "MAX_TYPES", "OTHER", "Folded", "error_type", "is_unknown_method"]

OTHER: Final = "_OTHER"
"""What the conventions call a method or an error that is not named."""
MAX_METHODS: Final = 1000
MAX_TYPES: Final = 100
_NAME_MAX = 200


class Folded:
    """The first names that come, up to a limit; all others are one."""

    __slots__ = ("_known", "_most")

    def __init__(self, most: int) -> None:
        self._known: set[str] = set()
        self._most = most

    def __call__(self, name: str) -> str:
        """Return the name itself, or ``_OTHER``."""
        if name in self._known:
            return name
        if len(self._known) >= self._most or len(name) > _NAME_MAX:
            return OTHER
        self._known.add(name)
        return name


def error_type(error: BaseException) -> str:
    """Return ``error.type`` for what a call or a function has raised."""
    cls = type(error)
    code = getattr(error, "code", None) if issubclass(cls, RabiBridgeError | ServiceError) else None
    if isinstance(code, str) and code:
        return code
    if cls.__module__ == "builtins" or issubclass(cls, RabiBridgeError):
        return cls.__qualname__
    return f"{cls.__module__}.{cls.__qualname__}"


def is_unknown_method(error: BaseException | None) -> bool:
    """Tell whether the error says that there is no such service."""
    return isinstance(error, NoRouteError)
