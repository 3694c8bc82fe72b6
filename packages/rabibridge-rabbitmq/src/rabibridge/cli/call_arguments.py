"""The arguments and options that ``call``, ``notify`` and ``bench`` share."""

from __future__ import annotations

import math
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

import typer
from typer.core import TyperCommand

from rabibridge.cli.json_values import from_json
from rabibridge_core._protocol.naming import check_service_name
from rabibridge_core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rabibridge.mq import RMQClient
    from rabibridge_core.rpc import ClientView

__all__ = [
    "ArgsArgument",
    "CallCommand",
    "CriticalityOption",
    "HeaderOption",
    "KindOption",
    "KwargsOption",
    "NameArgument",
    "TimeoutOption",
    "read_arguments",
    "read_headers",
    "view_of",
]


def _check_name(name: str) -> str:
    try:
        return check_service_name(name)
    except ConfigurationError as error:
        raise typer.BadParameter(str(error)) from error


NameArgument: TypeAlias = Annotated[
    str, typer.Argument(metavar="NAME", help="Name of the service.", callback=_check_name)
]
ArgsArgument: TypeAlias = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="ARGS",
        help="Positional arguments as JSON; a word that is not JSON is text. `@FILE` is the content of a file, `-` "
        "that of standard input, `@@x` the text `@x`.",
        show_default=False,
    ),
]
KwargsOption: TypeAlias = Annotated[
    str, typer.Option(metavar="JSON", help="Keyword arguments as a JSON object, `@FILE` or `-`.")
]
KindOption: TypeAlias = Annotated[Literal["async", "sync", "any"], typer.Option(help="Kind of the function.")]
TimeoutOption: TypeAlias = Annotated[
    float | None,
    typer.Option(
        metavar="SECONDS",
        min=0,
        help="Timeout of the whole call; `inf` for none. Default: 10, and none for a stream.",
        show_default=False,
    ),
]
HeaderOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--header", "-H", metavar="KEY=VALUE", help="A header of the request; may be repeated.", show_default=False
    ),
]
CriticalityOption: TypeAlias = Annotated[
    str | None, typer.Option(metavar="CLASS", help="Class of the call, such as `batch`.", show_default=False)
]

_FRACTION = re.compile(r"-?\.\d+")  # a number for people, not for JSON
_NEGATIVE = re.compile(r"-(\d|\.\d)")


class CallCommand(TyperCommand):
    """A command whose arguments may be negative numbers: ``call add -1 2``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the arguments behind ``--``, where nothing is an option, and the options before it."""
        valued = {
            option
            for parameter in self.params
            if parameter.param_type_name == "option" and not getattr(parameter, "is_flag", False)
            for option in parameter.opts
        }
        options: list[str] = []
        positional: list[str] = []
        words = iter(args)
        for word in words:
            if word == "--":
                positional += words
            elif word == "-" or not word.startswith("-") or _NEGATIVE.match(word):
                positional.append(word)
            else:
                options.append(word)
                if word in valued and (value := next(words, None)) is not None:
                    options.append(value)
        return super().parse_args(ctx, [*options, "--", *positional])


def read_arguments(args: Sequence[str] | None, kwargs: str) -> tuple[list[Any], dict[str, Any]]:
    """Return the positional and the keyword arguments of a call.

    Raises:
        BadParameter: one cannot be read.
    """
    words = list(args or [])
    if [*words, kwargs].count("-") > 1:
        raise typer.BadParameter("standard input can be read once: `-` stands for more than one argument")
    values = [_value(word, f"argument {number}") for number, word in enumerate(words, 1)]
    text, hint = _content(kwargs, "--kwargs"), "--kwargs"
    try:
        keywords = from_json(text if isinstance(text, str) else "")
    except (ValueError, RecursionError) as error:
        raise typer.BadParameter(f"not valid JSON: {error}", param_hint=hint) from error
    if not isinstance(keywords, dict) or not all(isinstance(key, str) for key in keywords):
        raise typer.BadParameter(f'must be a JSON object such as {{"b": 1}}, got {text[:80]!r}', param_hint=hint)
    return values, keywords


def read_headers(headers: Sequence[str] | None) -> dict[str, str] | None:
    """Return the headers that were given as ``KEY=VALUE``.

    Raises:
        BadParameter: one has no ``=``.
    """
    found = {}
    for header in headers or []:
        key, equals, value = header.partition("=")
        if not key or not equals:
            raise typer.BadParameter(f"{header!r} is not KEY=VALUE", param_hint="--header")
        found[key] = value
    return found or None


def view_of(client: RMQClient, **options: Any) -> ClientView:
    """Return the client with the options of the command line.

    Raises:
        BadParameter: an option has a wrong value.
    """
    if math.isnan(options.get("timeout") or 0.0):
        raise typer.BadParameter("must be a number of seconds", param_hint="--timeout")
    try:
        return client.options(**options)
    except ConfigurationError as error:
        raise typer.BadParameter(str(error)) from error


def _value(word: str, hint: str) -> Any:
    if word.startswith("@@"):
        return word[1:]
    text = _content(word, hint)
    if isinstance(text, bytes):
        return text
    try:
        return from_json(text)
    except (ValueError, RecursionError) as error:
        if _FRACTION.fullmatch(text):
            return float(text)
        if text.lstrip()[:1] not in {"{", "[", '"'}:
            return text
        raise typer.BadParameter(
            f"looks like JSON but is not: {error}; write text that begins so as a JSON string", param_hint=hint
        ) from error


def _content(word: str, hint: str) -> str | bytes:
    """Return a word, or what it stands for: the content of a file, as bytes if it is not text in UTF-8."""
    if word != "-" and not word.startswith("@"):
        return word
    try:
        data = sys.stdin.buffer.read() if word in {"-", "@-"} else Path(word[1:]).read_bytes()
    except OSError as error:
        raise typer.BadParameter(f"{word[1:] or word}: {error.strerror}", param_hint=hint) from error
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data
