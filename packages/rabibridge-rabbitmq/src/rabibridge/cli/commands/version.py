"""``rabibridge version``."""

from __future__ import annotations

from importlib.metadata import version

from rabibridge.cli.lazy import command_app
from rabibridge.cli.output import print_line

__all__ = ["app"]

app = command_app()


@app.command()
def show_version() -> None:
    """Print the version."""
    print_line(version("rabibridge-rabbitmq"))
