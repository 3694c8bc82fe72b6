"""Loads a command only when it is called, completed or its own help is shown.

Importing what ``call`` and ``run`` need takes several times as long as printing the list of commands.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar

import typer
from typer.core import TyperCommand, TyperGroup

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["LazyGroup", "command_app", "commands_of"]

_UsageError: Any = typer.BadParameter.__base__
"""The class of click, or of the copy of it that newer versions of Typer contain."""


def commands_of(**summaries: str) -> Mapping[str, str]:
    """Return the table of a :class:`LazyGroup`: names of commands, which are also those of their modules."""
    return summaries


def command_app(**options: Any) -> typer.Typer:
    """Return the Typer application of one module in ``commands``, with the settings that all commands share.

    With one function it is that command; with several it is a group of commands, such as ``queue list``.
    """
    return typer.Typer(
        no_args_is_help=False,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        **options,
    )


class LazyGroup(TyperGroup):
    """A group of commands that knows their names and summaries, and imports a module when its command is called.

    Each module offers ``app``, made by :func:`command_app`.
    """

    table: ClassVar[Mapping[str, str]] = {}

    def __init__(self, **attributes: Any) -> None:
        """Make a stand-in for each command, for help, completion and suggestions."""
        super().__init__(**attributes)
        for name, summary in self.table.items():
            self.commands[name] = TyperCommand(name, help=summary, short_help=summary)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command that is called, loaded, with its name and arguments."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, command and load_command(str(command.name)), rest

    def invoke(self, ctx: Any) -> Any:
        """Call the command; where it is given an option of the group, say where that one stands."""
        try:
            return super().invoke(ctx)
        except _UsageError as error:
            option = getattr(error, "option_name", None)
            if option and any(option in parameter.opts for parameter in self.params):
                error.message += (
                    f". It stands before the command: {ctx.command_path} {option} ... {ctx.invoked_subcommand}"
                )
            raise


def load_command(name: str) -> Any:
    """Import the module of a command and return the command, whose class depends on the version of Typer."""
    module = import_module(f"rabibridge.cli.commands.{name}")
    command = typer.main.get_command(module.app)
    command.name = name
    return command
