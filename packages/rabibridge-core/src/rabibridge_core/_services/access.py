"""Who may call a service: the users that its registration names, and the policy of its server."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from rabibridge_core.errors import ConfigurationError, RegistrationError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from rabibridge_core.transport import Headers

__all__ = ["Policy", "check_allowed", "check_policy"]

Policy: TypeAlias = "Callable[[str, str, Headers], bool | Awaitable[bool]]"
"""Decides whether a call is admitted by the name of the service, the user (empty: not known), and the headers."""

_NAME_MAX = 255


def check_allowed(service: str, allow: Collection[str] | None) -> None:
    """Check the users that may call a service.

    Raises:
        RegistrationError: it is no collection of names.
    """
    if allow is None:
        return
    if not isinstance(allow, tuple | list | set | frozenset) or not all(map(_is_name, allow)):
        raise RegistrationError(
            f"service {service!r}: allow is {repr(allow)[:120]}; it must be a tuple of names of users of the broker, "
            'as in allow=("gateway",)'
        )


def _is_name(name: object) -> bool:
    if not isinstance(name, str) or not name:
        return False
    return len(name.encode("utf-8", "surrogatepass")) <= _NAME_MAX


def check_policy(policy: Policy | None) -> Policy | None:
    """Return ``policy``.

    Raises:
        ConfigurationError: it is no function.
    """
    if policy is not None and not callable(policy):
        raise ConfigurationError(
            f"the argument policy= is {repr(policy)[:80]}; it must be a function, async or not, that takes the name of "
            "a service, a user and the headers of a call, and returns whether the call is admitted; or None"
        )
    return policy
