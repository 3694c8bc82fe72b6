"""Settings fields: what each setting accepts, and how its value is checked.

Core and every transport declare their settings as frozen dataclasses. The functions of this module make the fields of
such a class; :class:`CheckedSettings` is its base and checks the values. One set of functions for both means that all
settings are read from the same places and fail with the same words.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field, fields
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypedDict

from rabibridge_core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Unpack

__all__ = [
    "CheckedSettings",
    "SettingRule",
    "boolean_setting",
    "choice_setting",
    "integer_setting",
    "is_none",
    "keys_of",
    "parse_boolean",
    "parse_number",
    "rules_of",
    "seconds_setting",
    "setting",
]

_RULE = "rabibridge_rule"
_MULTIPLES = {"k": 10**3, "m": 10**6, "g": 10**9, "ki": 2**10, "mi": 2**20, "gi": 2**30}
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
        in_url: whether a URL may carry the setting as a query parameter; a text: under that name.
        secret: whether error messages hide the value. A secret can also be given as the name of a file that holds it:
            ``SIGNING_KEY_FILE``.
        meaning: what the setting does, in Markdown, for the tables of docs/configuration.md.
        group: the table of docs/configuration.md that lists it; empty: the main one of its class.
        shown_default: the default in words, where its value does not say it.
        decides: what the setting decides, in words for an error message, if that is not for a configuration file that
            lies in the current folder by chance; empty: any file may have it.
    """

    parse: Callable[[Any], Any]
    allowed: str
    aliases: tuple[str, ...] = ()
    in_url: bool | str = False
    secret: bool = False
    meaning: str = ""
    group: str = ""
    shown_default: str = ""
    decides: str = ""

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


class RuleTexts(TypedDict, total=False):
    """What :class:`SettingRule` holds for the documentation."""

    meaning: str
    group: str
    shown_default: str
    decides: str


def setting(
    *,
    default: Any,
    parse: Callable[[Any], Any],
    allowed: str,
    aliases: Sequence[str] = (),
    in_url: bool | str = False,
    secret: bool = False,
    **texts: Unpack[RuleTexts],
) -> Any:
    """Make a field of a settings class; the arguments are those of :class:`SettingRule`, and the default value."""
    rule = SettingRule(parse, allowed, tuple(aliases), in_url, secret, **texts)
    return field(default=default, metadata={_RULE: rule})


def integer_setting(
    low: int, high: int, *, default: int | None, unit: str, in_url: bool = False, **texts: Unpack[RuleTexts]
) -> Any:
    """Make a field for a whole number from ``low`` to ``high``; ``unit`` is a word for error messages: ``"bytes"``.

    Numbers of bytes may also be texts such as ``"8MiB"``. With the default ``None``, which means no limit, the text
    ``"none"`` is allowed too.
    """

    def parse(value: Any) -> int | None:
        if default is None and is_none(value):
            return None
        number: int = parse_number(_without_suffix(value) if unit == "bytes" else value, int)
        if not low <= number <= high:
            raise ValueError
        return number

    allowed = f"a whole number from {low} to {high} ({unit}){', or none' if default is None else ''}"
    return setting(default=default, parse=parse, allowed=allowed, in_url=in_url, **texts)


def seconds_setting(
    low: float, high: float, *, default: float, in_url: bool = False, **texts: Unpack[RuleTexts]
) -> Any:
    """Make a field for a duration from ``low`` to ``high`` seconds, which is kept as a float."""

    def parse(value: Any) -> float:
        number = float(parse_number(value.total_seconds() if isinstance(value, timedelta) else value, float))
        if not (math.isfinite(number) and low <= number <= high):
            raise ValueError
        return number

    return setting(default=default, parse=parse, allowed=f"{low} to {high} seconds", in_url=in_url, **texts)


def boolean_setting(*, default: bool, in_url: bool = False, **texts: Unpack[RuleTexts]) -> Any:
    """Make a field for true or false; as texts also yes, no, on, off, 1 and 0."""
    return setting(default=default, parse=parse_boolean, allowed="true or false", in_url=in_url, **texts)


def choice_setting(*choices: str, default: str, in_url: bool | str = False, **texts: Unpack[RuleTexts]) -> Any:
    """Make a field for one of several words, which are in lower case."""

    def parse(value: Any) -> str:
        word = str(value).strip().lower()
        if not isinstance(value, str) or word not in choices:
            raise ValueError
        return word

    allowed = f"{', '.join(choices[:-1])} or {choices[-1]}"
    return setting(default=default, parse=parse, allowed=allowed, in_url=in_url, **texts)


def is_none(value: object) -> bool:
    """Tell whether a value says that there is none: ``None``, or the text ``"none"``."""
    return value is None or (isinstance(value, str) and value.strip().lower() == "none")


def _without_suffix(value: Any) -> Any:
    found = re.fullmatch(r"\s*(\d+)\s*([KMG]i?)B\s*", value, re.IGNORECASE) if isinstance(value, str) else None
    return int(found[1]) * _MULTIPLES[found[2].lower()] if found else value


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


def keys_of(name: str, rule: SettingRule) -> list[str]:
    """Return the names that a setting has in upper case, for variables and for keys in the file."""
    return [name.upper(), *rule.aliases]


def rules_of(settings: type[CheckedSettings]) -> dict[str, SettingRule]:
    """Return the rules of a settings class by field name; fields that are not settings are left out."""
    declared = fields(settings)  # type: ignore[arg-type]  # subclasses are dataclasses, the base class has no fields
    return {item.name: item.metadata[_RULE] for item in declared if _RULE in item.metadata}
