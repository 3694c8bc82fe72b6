"""``rabibridge new``."""

from __future__ import annotations

import re
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path  # noqa: TC003 - Typer reads the annotations
from string import Template
from typing import TYPE_CHECKING, Annotated

import typer

from rabibridge.cli.lazy import command_app
from rabibridge.cli.output import print_line

if TYPE_CHECKING:
    from collections.abc import Iterator
    from importlib.resources.abc import Traversable

__all__ = ["app"]

app = command_app()

_EXAMPLES = """\b
Example:
  rabibridge new shop && cd shop && make test
"""
_SUFFIX = ".txt"  # the files are no modules of this package


@app.command(epilog=_EXAMPLES)
def new(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="The folder to make. It may exist if it is empty.")],
) -> None:
    """Make a small project: services, client, gateway and tests."""
    try:
        if path.exists() and any(path.iterdir()):
            raise typer.BadParameter(f"{path} is not empty", param_hint="PATH")
        names = {"name": re.sub(r"[^\w .-]", "", path.resolve().name), "version": version("rabibridge-rabbitmq")}
        for relative, source in _sources(files("rabibridge.cli") / "project", ()):
            file = path.joinpath(*relative)
            file.parent.mkdir(parents=True, exist_ok=True)
            text = source.read_text(encoding="utf-8")
            plain = file.name == "Makefile"  # its own variables look like those of a template
            file.write_text(text if plain else Template(text).substitute(names), encoding="utf-8")
            print_line(str(file))
    except OSError as error:
        raise typer.BadParameter(f"{error.filename or path}: {error.strerror}", param_hint="PATH") from error
    print_line(f"\nNow: cd {path} && make test, and read {path / 'README.md'}.")


def _sources(folder: Traversable, above: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Traversable]]:
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir():
            yield from _sources(entry, (*above, entry.name))
        elif entry.name.endswith(_SUFFIX):
            yield (*above, entry.name.removesuffix(_SUFFIX)), entry
