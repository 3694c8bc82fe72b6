"""The ``rabibridge`` command."""

from __future__ import annotations

__all__ = ["main"]


def main() -> None:
    """Run the command with the arguments of the process."""
    from rabibridge.cli.app import app

    app()
