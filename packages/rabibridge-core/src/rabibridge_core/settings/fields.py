"""Settings fields: what each setting accepts, and how its value is checked.

Core and every transport declare their settings as frozen dataclasses. The functions of this module make the fields of
such a class; :class:`CheckedSettings` is its base and checks the values. One set of functions for both means that all
settings are read from the same places and fail with the same words.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from rabibridge_core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = [
    "CheckedSettings",
    "SettingRule",
    "boolean_setting",
    "integer_setting",
    "parse_boolean",
    "parse_number",
    "rules_of",
    "seconds_setting",
    "setting",
]

_RULE = "rabibridge_rule"
_BOOLEANS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


@dataclass(frozen=True, slots=True)
class SettingRule:
    """What one setting accepts.

    Attributes:
        parse: returns the value to keep, or raises ValueError, TypeError, KeyError or OverflowError. It receives texts
            from environment variables and URLs, and texts, numbers and booleans from the file and from code. It must
            accept the values that it returns.
        allowed: what is allowed, in words for error messages: ``"1 to 60 seconds"``.
        aliases: further names of the setting in upper case, for variables and for keys in the file.
        in_url: whether a URL may carry the setting as a query parameter.
        secret: whether error messages hide the value.
    """

    parse: Callable[[Any], Any]
    allowed: str
    aliases: tuple[str, ...] = ()
    in_url: bool = False
    secret: bool = False

    def check(self, name: str, value: object, source: str) -> Any:
        """Return the value to keep.

        Args:
            name: name of the setting, for the error message.
            value: what was given.
            source: where it was given, for the error message.

        Raises:
            ConfigurationError: the value is not allowed. The message names the setting, the value, the source and what
                is allowed.
        """
        # Raised outside the except block, so that no __context__ holds the value of a secret.
        try:
            return self.parse(value)
        except (ValueError, TypeError, KeyError, OverflowError):
            pass
        shown = "not valid" if self.secret else f"{value!r}"
        raise ConfigurationError(f"{name} is {shown} (from {source}); allowed: {self.allowed}")


def setting(
    *,
    default: Any,
    parse: Callable[[Any], Any],
    allowed: str,
    aliases: Sequence[str] = (),
    in_url: bool = False,
    secret: bool = False,
) -> Any:
    """Make a field of a settings class; the arguments are those of :class:`SettingRule`, and the default value."""
    return field(default=default, metadata={_RULE: SettingRule(parse, allowed, tuple(aliases), in_url, secret)})


def integer_setting(low: int, high: int, *, default: int, unit: str, in_url: bool = False) -> Any:
    """Make a field for a whole number from ``low`` to ``high``; ``unit`` is a word for error messages: ``"bytes"``."""

    def parse(value: Any) -> int:
        number: int = parse_number(value, int)
        if not low <= number <= high:
            raise ValueError
        return number

    return setting(default=default, parse=parse, allowed=f"a whole number from {low} to {high} ({unit})", in_url=in_url)


def seconds_setting(low: float, high: float, *, default: float, in_url: bool = False) -> Any:
    """Make a field for a duration from ``low`` to ``high`` seconds, which is kept as a float."""

    def parse(value: Any) -> float:
        number = float(parse_number(value.total_seconds() if isinstance(value, timedelta) else value, float))
        if not (math.isfinite(number) and low <= number <= high):
            raise ValueError
        return number

    return setting(default=default, parse=parse, allowed=f"{low} to {high} seconds", in_url=in_url)


def boolean_setting(*, default: bool, in_url: bool = False) -> Any:
    """Make a field for true or false; as texts also yes, no, on, off, 1 and 0."""
    return setting(default=default, parse=parse_boolean, allowed="true or false", in_url=in_url)


def parse_boolean(value: object) -> bool:
    """Return a boolean as it is, and read a text such as ``"yes"``; raise KeyError for anything else."""
    return value if isinstance(value, bool) else _BOOLEANS[str(value).strip().lower()]


def parse_number(value: Any, kind: type) -> Any:
    """Return a number as it is, and read a text with ``kind``; booleans and other types raise TypeError."""
    if isinstance(value, str):
        return kind(value)
    if isinstance(value, bool) or not isinstance(value, (int, kind)):
        raise TypeError
    return value


class CheckedSettings:
    """Base class of frozen dataclasses whose fields are settings: every value is checked, however the object is made.

    Raises:
        ConfigurationError: a value is not allowed.
    """

    __slots__ = ()

    def __post_init__(self) -> None:
        """Check and convert every value."""
        for name, rule in rules_of(type(self)).items():
            object.__setattr__(self, name, rule.check(name, getattr(self, name), f"the argument {name}="))


def rules_of(settings: type[CheckedSettings]) -> dict[str, SettingRule]:
    """Return the rules of a settings class by field name; fields that are not settings are left out."""
    declared = fields(settings)  # type: ignore[arg-type]  # subclasses are dataclasses, the base class has no fields
    return {item.name: item.metadata[_RULE] for item in declared if _RULE in item.metadata}
