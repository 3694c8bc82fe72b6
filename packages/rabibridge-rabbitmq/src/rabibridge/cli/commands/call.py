"""``rabibridge call``."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

import typer

from rabibridge.cli.lazy import command_app
from rabibridge.cli.output import print_line
from rabibridge.cli.runtime import run
from rabibridge.mq import RMQClient

__all__ = ["app"]

app = command_app()


@app.command()
def call(
    name: Annotated[str, typer.Argument(help="Name of the service.")],
    args: Annotated[
        list[str] | None,
        typer.Argument(help="Positional arguments as JSON; anything that is not valid JSON is passed as a string."),
    ] = None,
    kwargs: Annotated[str, typer.Option(help="Keyword arguments as a JSON object.")] = "{}",
    kind: Annotated[Literal["async", "sync", "any"], typer.Option(help="Kind of the function.")] = "any",
    timeout: Annotated[float, typer.Option(help="Timeout of the whole call, in seconds.")] = 10.0,
) -> None:
    """Call a function and print its result as JSON."""
    try:
        keywords = json.loads(kwargs)
    except ValueError as error:
        raise typer.BadParameter(f"not valid JSON: {error}", param_hint="--kwargs") from error
    if not isinstance(keywords, dict):
        raise typer.BadParameter(f'must be a JSON object such as {{"b": 1}}, got {kwargs}', param_hint="--kwargs")

    async def call_it() -> Any:
        async with RMQClient() as client:
            return await client.remote_call(
                name, [_value(text) for text in args or []], keywords, kind, timeout=timeout
            )

    print_line(_json(run(call_it())))


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _json(result: Any) -> str:
    """Return a result as JSON without characters that control a terminal."""
    text = json.dumps(result, ensure_ascii=False, default=repr)
    return text if text.isprintable() else "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)
