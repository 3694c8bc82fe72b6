"""The ``rabibridge`` command: arguments, output and exit statuses.

Serving and calling belong in the packages below; the command uses only their public classes. Each command is a module
in ``commands``, and imports what it needs when it is called, so that ``rabibridge --help`` and shell completion are
quick.
"""

from __future__ import annotations

from rabibridge._side_by_side import refuse_version_0

refuse_version_0()  # where its __init__ is in the place of ours

__all__ = ["main"]


def main() -> None:
    """Run the command with the command-line arguments of the process."""
    try:
        from rabibridge.cli.app import app

        app(prog_name="rabibridge")
    except KeyboardInterrupt:  # while something was imported; commands handle it themselves
        raise SystemExit(130) from None
