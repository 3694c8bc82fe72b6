"""Checks the arguments of calls, where they are given."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rabibridge_core._client.retry import RetryRefused
from rabibridge_core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["check_arguments", "check_options", "check_retry"]

_SEQUENCES = (tuple, list)


def check_arguments(func_name: str, args: object, kwargs: Mapping[str, object]) -> None:
    """Check the arguments for the function.

    Raises:
        TypeError: ``args`` is not a tuple or list, or ``kwargs`` is not a dict with texts as keys.
    """
    if not isinstance(args, _SEQUENCES) or not isinstance(kwargs, dict):
        raise TypeError(
            f"call of {func_name!r}: args must be a tuple or list and kwargs a dict, "
            f"not {type(args).__name__} and {type(kwargs).__name__}"
        )
    for name in kwargs:
        if not isinstance(name, str):
            raise TypeError(f"call of {func_name!r}: the keys of kwargs are names of parameters, not {name!r}")


def check_options(idempotent: object, persistent: object, inherit_deadline: object, retry: object) -> None:
    """Check options of a call that are not the usual ones.

    Raises:
        ConfigurationError: one has a wrong type.
    """
    flags = {"idempotent": idempotent, "persistent": persistent, "inherit_deadline": inherit_deadline}
    for name, value in flags.items():
        if not isinstance(value, bool):
            raise ConfigurationError(f"{name} is {value!r}; it must be True or False")
    check_retry(retry)


def check_retry(retry: object) -> None:
    """Check how calls are sent again; ``None`` and ``False``: not at all.

    Raises:
        ConfigurationError: it has a wrong type.
    """
    if not (retry is None or retry is False or isinstance(retry, RetryRefused)):
        raise ConfigurationError(
            f"retry is {retry!r}; it must be a RetryRefused, such as RetryRefused(attempts=5), or False for none"
        )
