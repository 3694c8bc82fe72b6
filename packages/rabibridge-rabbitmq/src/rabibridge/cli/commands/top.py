"""``rabibridge top``.

It is drawn by Rich, which the command has anyway: one table and one page need no framework of widgets, and the few keys
are read here.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from rabibridge.cli.lazy import command_app
from rabibridge.cli.output import console
from rabibridge.cli.runtime import run
from rabibridge.mq import RMQClient
from rabibridge_core.errors import RabiBridgeError

if TYPE_CHECKING:
    from rabibridge.cli.top_state import TopState

__all__ = ["app"]

app = command_app()

_EXAMPLES = """\b
Examples:
  rabibridge top
  rabibridge top --interval 0.5

\b
Keys:
  q, Ctrl-C     quit                      /         filter by name; esc shows all
  s, S, r       sort, reverse             enter     the last errors of a service
  up, down      select                    p         pause

For scripts there is `rabibridge services --json`.
"""


@app.command(epilog=_EXAMPLES)
def top(
    interval: Annotated[
        float, typer.Option("--interval", "-i", metavar="SECONDS", min=0.1, max=3600, help="Time between looks.")
    ] = 2.0,
) -> None:
    """Watch the services live, and look at the last errors of one."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise typer.BadParameter("needs a terminal; for scripts there is: rabibridge services --json")
    if sys.platform == "win32":
        raise typer.BadParameter("needs a terminal of Unix; there is: rabibridge services")
    logging.getLogger().addHandler(logging.NullHandler())  # warnings of a lost connection would spoil the screen
    run(_watch(interval))


async def _watch(interval: float) -> None:
    from rich.live import Live

    from rabibridge.cli.terminal import raw_keys, redraw_on_resize
    from rabibridge.cli.top_screen import screen
    from rabibridge.cli.top_state import TopState

    state, changed = TopState(), asyncio.Event()
    terminal = console()

    def press(key: str) -> None:
        state.press(key)
        changed.set()

    async with RMQClient() as client:
        asking = asyncio.create_task(_ask(client, state, interval, changed))
        try:
            with (
                Live(console=terminal, screen=True, auto_refresh=False) as live,
                raw_keys(press),
                redraw_on_resize(changed.set, lambda: press("gone")),
            ):
                while not state.ended:
                    live.update(screen(state, terminal.height), refresh=True)
                    await changed.wait()
                    changed.clear()
        finally:
            asking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asking


async def _ask(client: RMQClient, state: TopState, interval: float, changed: asyncio.Event) -> None:
    """Ask the workers again and again. What goes wrong is shown, and the next look may be better."""
    while True:
        try:
            found = await client.services(timeout=max(interval, 2.0))
        except RabiBridgeError as error:
            state.trouble = f"no answer: {error}"
        else:
            state.trouble = ""
            if not state.paused:
                state.found = found
        changed.set()
        await asyncio.sleep(interval)
